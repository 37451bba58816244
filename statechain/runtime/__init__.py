"""The run: a plan and an input become visits; asyncio lives here."""
