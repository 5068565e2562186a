package main

import (
	"encoding/json"
	"fmt"
	"os"
)

// Config is what the service is told by its file, read when it starts.
type Config struct {
	Listen   string `json:"listen"`
	Greeting string `json:"greeting"`
}

// readConfig reads a file; a name that isn't known is an error, for it's a misspelt one.
func readConfig(path string) (Config, error) {
	config := Config{Listen: ":8080", Greeting: "hello"}
	file, err := os.Open(path)
	if err != nil {
		return config, err
	}
	defer file.Close()
	decoder := json.NewDecoder(file)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&config); err != nil {
		return config, fmt.Errorf("%s: %w", path, err)
	}
	return config, nil
}
