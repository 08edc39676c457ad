"""The contract between the gateway, internal services and the session service."""
