// A host and its plugin, in one program. `main netrpc` and `main grpc` start themselves again as the plugin and time calls
// to it: "greet 1000" on stdin, nanoseconds on stdout.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
)

type Greeter interface {
	Greet(name string) (string, error)
	Lang() (string, error)
}

type english struct{}

func (english) Greet(name string) (string, error) { return "Hello, " + name + "! Nice to meet you.", nil }
func (english) Lang() (string, error)             { return "English", nil }

var handshake = plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "GREETER", MagicCookieValue: "english"}

func main() {
	protocol := os.Args[1]
	plugins := map[string]plugin.Plugin{"greeter": &rpcPlugin{}}
	if protocol == "grpc" {
		plugins["greeter"] = &grpcPlugin{}
	}
	if os.Getenv(handshake.MagicCookieKey) != "" {
		config := &plugin.ServeConfig{HandshakeConfig: handshake, Plugins: plugins}
		if protocol == "grpc" {
			config.GRPCServer = plugin.DefaultGRPCServer
		}
		plugin.Serve(config)
		return
	}
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  handshake,
		Plugins:          plugins,
		Cmd:              exec.Command(os.Args[0], protocol),
		AllowedProtocols: []plugin.Protocol{plugin.Protocol(protocol)},
		Logger:           hclog.NewNullLogger(),
	})
	defer client.Kill()
	connection, err := client.Client()
	check(err)
	raw, err := connection.Dispense("greeter")
	check(err)
	serve(raw.(Greeter))
}

func serve(greeter Greeter) {
	var method, text string
	var count int
	for {
		if _, err := fmt.Scan(&method, &count); err != nil {
			return
		}
		start := time.Now()
		for i := 0; i < count; i++ {
			var err error
			if method == "greet" {
				text, err = greeter.Greet("World")
			} else {
				text, err = greeter.Lang()
			}
			check(err)
		}
		fmt.Println(time.Since(start).Nanoseconds(), text)
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
