"""What every job needs: options of Beam, inputs, resuming, progress and the report at the end."""
