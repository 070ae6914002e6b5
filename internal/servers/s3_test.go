package servers

import (
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
)

// TestS3 stores an object, restarts the server and reads it, without and with TLS.
func TestS3(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *S3Server{"plain": S3, "TLS": S3WithTLS} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			bucket, client := s.Bucket(t), s.Client(t)
			if _, err := client.PutObject(t.Context(), bucket, "a/b", strings.NewReader("text"), 4, minio.PutObjectOptions{}); err != nil {
				t.Fatal(err)
			}
			s.Stop()
			if s.answers() {
				t.Error("a stopped server answers")
			}
			s.Start()
			info, err := client.StatObject(t.Context(), bucket, "a/b", minio.StatObjectOptions{})
			if err != nil || info.Size != 4 {
				t.Errorf("object behind a restart: %d octets, %v; want 4", info.Size, err)
			}
		})
	}
}
