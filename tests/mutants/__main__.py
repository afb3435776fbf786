"""`python -m tests.mutants [words…]`: run the mutants, or those whose names hold all the words."""

from __future__ import annotations

import sys

from tests.mutants.runner import all_mutants, run
from tests.support.servers import postgres_cluster

if __name__ == "__main__":
    chosen = [mutant for mutant in all_mutants() if all(word in mutant.name for word in sys.argv[1:])]
    if not chosen:
        print("no mutant has that name")
        sys.exit(1)
    with postgres_cluster() as cluster:
        sys.exit(run(chosen, cluster))
