"""``python -m pumba_pipe.bids_app``: the same as the command ``pumba``."""

import sys

from pumba_pipe.bids_app.run import main

sys.exit(main())
