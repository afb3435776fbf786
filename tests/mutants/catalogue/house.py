"""Mutants of the settings, of the embedded servers, of the supervisor."""

from tests.mutants.mutant import Mutant

EMBEDDED = "tests/integration/runtime/test_embedded.py"
SUPERVISOR = "tests/integration/runtime/test_supervisor.py"

MUTANTS = [
    Mutant(
        "the help loads each command",
        "app/commands/lazy.py",
        "name: click.Command(name, help=description(target)) for name, target in self.table.items()",
        "name: self.get_command(ctx, name) for name in self.table",
        "tests/unit/client/test_commands.py::test_what_goes_over_http_loads_nothing_of_the_servers_side",
    ),
    Mutant(
        "a relay loads what migrates",
        "app/commands/relay.py",
        "from app.commands.exits import told\n",
        "from app.commands.exits import told\nimport app.db.migrate\n",
        "tests/unit/client/test_commands.py::test_a_worker_a_relay_a_deliverer_load_no_web_framework_no_migrations",
    ),
    Mutant(
        "production takes generated keys",
        "app/settings/variables.py",
        "        if not named and served:\n",
        "        if not named and served and False:\n",
        "tests/unit/settings/test_settings.py::test_what_serves_people_refuses_generated_keys_debug_and_embedded_servers",
    ),
    Mutant(
        "no lock on the state directory",
        "app/runtime/embedded.py",
        "fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "fcntl.flock(handle, fcntl.LOCK_UN)",
        f"{EMBEDDED}::test_a_second_supervisor_is_refused_by_the_lock",
    ),
    Mutant(
        "no guard over the servers",
        "app/runtime/server.py",
        "        self._guard.watch(self._process.pid, self._stop_signal)\n",
        "",
        f"{EMBEDDED}::test_a_supervisor_killed_with_9_leaves_nothing_and_the_next_one_recovers",
    ),
    Mutant(
        "children of a killed process stay",
        "app/runtime/supervisor.py",
        "end_groups({child.process.pid: int(signal.SIGKILL)}, 0.0)",
        "pass",
        f"{SUPERVISOR}::test_a_killed_process_takes_its_children_along_and_starts_again",
    ),
    Mutant(
        "any account opens Flower",
        "app/flowerlogin.py",
        "            if not found.roles & PLATFORM_ROLES:\n",
        "            if not found.roles:\n",
        "tests/integration/api/test_flower_sign_in.py::test_other_accounts_and_wrong_passwords_stay_outside",
    ),
]
