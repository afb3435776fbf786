"""An Event Hubs namespace on loopback for the unmodified SDK: AMQP 1.0 with a codec of its own.

It is a test tool: it knows what azure-eventhub 5.15 asks of the service, so what passes against it was
tested against a local peer, not against Event Hubs.
"""
