"""Storage for statechain: each module implements `statechain.storage.repository` on one technology."""
