"""The worker. It sees ports and core only: a registry of tasks comes in, settlements go out."""
