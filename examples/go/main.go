// Command greeter is a service that greets; `greeter -health` asks the one that runs.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net/http"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	path := flag.String("config", "/etc/greeter/config.json", "the configuration `file`")
	health := flag.Bool("health", false, "ask the service on this machine whether it is well")
	flag.Parse()
	config, err := readConfig(*path)
	if err == nil && *health {
		err = checkHealth(config.Listen)
	} else if err == nil {
		err = serve(config)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// serve answers until it's told to stop, and then finishes what it's at.
func serve(config Config) error {
	stopped, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	server := http.Server{
		Addr:              config.Listen,
		Handler:           service(config),
		ReadHeaderTimeout: 5 * time.Second,
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	log.Printf("listening on %s", config.Listen)
	select {
	case err := <-ended:
		return err
	case <-stopped.Done():
	}
	patience, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(patience); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	log.Print("stopped")
	return nil
}
