"""What the user declares and passes: constraints, variables, parameters and their values, checked."""
