package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"
)

// versions lists the versions of the CNI specification that the plugin implements.
const versions = `{"cniVersion":"1.0.0","supportedVersions":["0.3.1","0.4.0","1.0.0"]}`

// plugin runs a command of the CNI specification, 1.0.0, and returns the exit status. ADD prints the result of the
// previous plugin in the chain, VERSION prints versions, and the other commands do nothing.
func plugin(command string) int {
	switch command {
	case "VERSION":
		fmt.Println(versions)
	case "ADD":
		result, err := add(os.Stdin)
		if err != nil {
			_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"cniVersion": "1.0.0", "code": 100, "msg": err.Error()})
			return 1
		}
		_, _ = os.Stdout.Write(result)
	}
	return 0
}

// add asks the agent to enroll the pod that the plugin's environment names, and returns the result to print.
func add(config io.Reader) ([]byte, error) {
	var c struct{ PrevResult json.RawMessage }
	var result struct {
		IPs []struct{ Address netip.Prefix }
	}
	if err := json.NewDecoder(config).Decode(&c); err != nil {
		return nil, fmt.Errorf("network configuration: %w", err)
	}
	if err := json.Unmarshal(c.PrevResult, &result); err != nil {
		return nil, fmt.Errorf("prevResult: %w", err)
	}
	if len(result.IPs) == 0 {
		return nil, fmt.Errorf("no address in prevResult %s", c.PrevResult)
	}
	pod := arguments(os.Getenv("CNI_ARGS"))
	return c.PrevResult, ask(request{
		Namespace: pod["K8S_POD_NAMESPACE"], Name: pod["K8S_POD_NAME"],
		Netns: os.Getenv("CNI_NETNS"), Address: result.IPs[0].Address.Addr(),
	})
}

// arguments reads CNI_ARGS: NAME=VALUE, separated by semicolons.
func arguments(text string) map[string]string {
	all := map[string]string{}
	for part := range strings.SplitSeq(text, ";") {
		name, value, _ := strings.Cut(part, "=")
		all[name] = value
	}
	return all
}

func ask(r request) error {
	c, err := net.DialTimeout("unix", socket, time.Minute)
	if err != nil {
		return err
	}
	defer c.Close()
	var answer string
	if err := errors.Join(c.SetDeadline(time.Now().Add(time.Minute)), json.NewEncoder(c).Encode(r), json.NewDecoder(c).Decode(&answer)); err != nil {
		return fmt.Errorf("ask the agent: %w", err)
	}
	if answer != "" {
		return errors.New(answer)
	}
	return nil
}
