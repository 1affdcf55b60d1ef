package variables_test

import (
	"fmt"
	"os"
	"time"

	"github.com/meshtls-tap/meshtls-tap/internal/variables"
)

// delivery are the settings of the example.
type delivery struct {
	Brokers []string      `env:"TAP_BROKERS" about:"host:port,... of any of the brokers"`
	Window  time.Duration `env:"TAP_WINDOW" envDefault:"10m" expected:"a duration such as 10m" about:"the time that one record covers"`
}

// Parse fills in a struct by its tags and returns an error for each invalid variable. Help prints all variables.
func ExampleParse() {
	var s delivery
	for _, err := range variables.Parse(&s, variables.Of([]string{"TAP_BROKERS=kafka:9092", "TAP_WINDOW=soon"})) {
		fmt.Println(err)
	}
	fmt.Println(s.Brokers)
	variables.Help[delivery](os.Stdout)

	// Output:
	// TAP_WINDOW=soon: expected a duration such as 10m
	// [kafka:9092]
	//   TAP_BROKERS       host:port,... of any of the brokers
	//   TAP_WINDOW   10m  the time that one record covers
}
