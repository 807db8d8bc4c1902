"""What a plugin's author uses: the rules of the contract, and templates."""
