package main

import (
	"fmt"
	"net"
	"net/http"
	"time"
)

// service answers requests.
func service(config Config) http.Handler {
	paths := http.NewServeMux()
	paths.HandleFunc("/health", func(answer http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(answer, "ok")
	})
	paths.HandleFunc("/", func(answer http.ResponseWriter, request *http.Request) {
		if request.URL.Path != "/" {
			http.NotFound(answer, request)
			return
		}
		fmt.Fprintln(answer, config.Greeting)
	})
	return paths
}

// checkHealth asks the service that listens on this machine.
func checkHealth(listen string) error {
	_, port, err := net.SplitHostPort(listen)
	if err != nil {
		return err
	}
	client := http.Client{Timeout: 3 * time.Second}
	answer, err := client.Get("http://127.0.0.1:" + port + "/health")
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the service answers %s", answer.Status)
	}
	return nil
}
