package main

import (
	"net/rpc"

	"github.com/hashicorp/go-plugin"
)

type rpcPlugin struct{}

func (*rpcPlugin) Server(*plugin.MuxBroker) (interface{}, error) { return &rpcServer{english{}}, nil }

func (*rpcPlugin) Client(_ *plugin.MuxBroker, client *rpc.Client) (interface{}, error) {
	return &rpcClient{client}, nil
}

type rpcServer struct{ greeter Greeter }

func (server *rpcServer) Greet(name string, text *string) (err error) {
	*text, err = server.greeter.Greet(name)
	return
}

func (server *rpcServer) Lang(_ struct{}, text *string) (err error) {
	*text, err = server.greeter.Lang()
	return
}

type rpcClient struct{ client *rpc.Client }

func (client *rpcClient) Greet(name string) (text string, err error) {
	err = client.client.Call("Plugin.Greet", name, &text)
	return
}

func (client *rpcClient) Lang() (text string, err error) {
	err = client.client.Call("Plugin.Lang", struct{}{}, &text)
	return
}
