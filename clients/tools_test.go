package clients_test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestHealthProbe(t *testing.T) {
	t.Parallel()
	s := serve(t, nil)
	for _, c := range []struct {
		service, want string
		healthy       bool
	}{
		{"", "SERVING", true},
		{"agent.v1.AgentService", "SERVING", true},
		{"agent.v1.NoService", "unknown service", false},
	} {
		t.Run("service "+c.service, func(t *testing.T) {
			t.Parallel()
			out, err := exec.Command(filepath.Join(binaries(t), "grpc-health-probe"), "-addr", s.grpc, "-service", c.service).CombinedOutput()
			if (err == nil) != c.healthy || !strings.Contains(string(out), c.want) {
				t.Errorf("ended with %v and said %s", err, out)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	s := serve(t, nil, "--rate-limit", "0")
	for _, method := range []string{"Run", "StreamRun"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			out, err := exec.Command(filepath.Join(binaries(t), "ghz"), "--insecure", "--call", "agent.v1.AgentService/"+method,
				"--data", `{"message": "What is 17 * 23?", "user_id": "user-{{.RequestNumber}}"}`,
				"--total", "500", "--concurrency", "16", "--connections", "2", "--format", "json", s.grpc).Output()
			if err != nil {
				t.Fatalf("ghz: %v\n%s", err, out)
			}
			var report struct {
				Count                  int
				StatusCodeDistribution map[string]int
			}
			if err := json.Unmarshal(out, &report); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if report.StatusCodeDistribution["OK"] != 500 || report.Count != 500 {
				t.Errorf("of %d calls: %v", report.Count, report.StatusCodeDistribution)
			}
		})
	}
}
