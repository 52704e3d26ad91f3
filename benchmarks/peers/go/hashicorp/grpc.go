package main

import (
	"context"

	"github.com/golang/protobuf/ptypes/empty"
	"github.com/golang/protobuf/ptypes/wrappers"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

type grpcPlugin struct{ plugin.NetRPCUnsupportedPlugin }

func (*grpcPlugin) GRPCServer(_ *plugin.GRPCBroker, server *grpc.Server) error {
	server.RegisterService(&service, Greeter(english{}))
	return nil
}

func (*grpcPlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (interface{}, error) {
	return &grpcClient{conn}, nil
}

// What protoc would write for: service Greeter { rpc Greet(StringValue) returns (StringValue); rpc Lang(Empty) ... }
var service = grpc.ServiceDesc{
	ServiceName: "greeter.Greeter",
	HandlerType: (*Greeter)(nil),
	Methods: []grpc.MethodDesc{
		{MethodName: "Greet", Handler: func(server interface{}, _ context.Context, decode func(interface{}) error, _ grpc.UnaryServerInterceptor) (interface{}, error) {
			name := new(wrappers.StringValue)
			if err := decode(name); err != nil {
				return nil, err
			}
			text, err := server.(Greeter).Greet(name.Value)
			return &wrappers.StringValue{Value: text}, err
		}},
		{MethodName: "Lang", Handler: func(server interface{}, _ context.Context, decode func(interface{}) error, _ grpc.UnaryServerInterceptor) (interface{}, error) {
			if err := decode(new(empty.Empty)); err != nil {
				return nil, err
			}
			text, err := server.(Greeter).Lang()
			return &wrappers.StringValue{Value: text}, err
		}},
	},
}

type grpcClient struct{ conn *grpc.ClientConn }

func (client *grpcClient) Greet(name string) (string, error) {
	text := new(wrappers.StringValue)
	err := client.conn.Invoke(context.Background(), "/greeter.Greeter/Greet", &wrappers.StringValue{Value: name}, text)
	return text.Value, err
}

func (client *grpcClient) Lang() (string, error) {
	text := new(wrappers.StringValue)
	err := client.conn.Invoke(context.Background(), "/greeter.Greeter/Lang", new(empty.Empty), text)
	return text.Value, err
}
