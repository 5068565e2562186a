package main

import (
	"net/http/httptest"
	"testing"
)

func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		path string
		code int
		body string
	}{
		{"/", 200, "good day\n"},
		{"/health", 200, "ok\n"},
		{"/elsewhere", 404, "404 page not found\n"},
	} {
		answer := httptest.NewRecorder()
		service(Config{Greeting: "good day"}).ServeHTTP(answer, httptest.NewRequest("GET", c.path, nil))
		if answer.Code != c.code || answer.Body.String() != c.body {
			t.Errorf("%s: %d %q", c.path, answer.Code, answer.Body)
		}
	}
}

func TestConfig(t *testing.T) {
	config, err := readConfig("config/production.json")
	if err != nil || config.Listen == "" || config.Greeting == "" {
		t.Errorf("%+v %v", config, err)
	}
	if _, err := readConfig("config/missing.json"); err == nil {
		t.Error("a missing file is an error")
	}
}
