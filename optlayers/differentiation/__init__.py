"""How an answer found without derivatives is tied to the data it depends on."""
