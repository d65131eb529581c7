"""`swarmd` as it is, but that it finds out within seconds, in a small internet, whether its UDP port can be reached.

The waiting times are no settings: half an hour suits everybody but a test. `tests.bench.dht_nat` waits for it.
"""

from swarmd.daemon import dht_reachability
from swarmd.daemon.main import main

OPEN_PERIOD = 2.0
TRIAL_PERIOD = 4.0

if __name__ == "__main__":
    dht_reachability.OPEN_PERIOD = OPEN_PERIOD
    dht_reachability.TRIAL_PERIOD = TRIAL_PERIOD
    dht_reachability.LOOK_PERIOD = 0.5
    dht_reachability.OUTSIDE = 8
    main()
