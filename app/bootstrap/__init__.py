"""The only wiring: settings become engines, stores, senders, services, one file for each process."""
