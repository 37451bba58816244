"""What both SQL backends share: schema, migrations, queries, rows, scripts, compiler."""
