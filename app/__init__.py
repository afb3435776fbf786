"""The platform: intents become plans, plans become runs of durable steps."""
