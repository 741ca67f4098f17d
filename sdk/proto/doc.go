// Package proto is the generated Go form of plugin.proto, the contract between
// mlist and its plugins. Handler authors use package sdk instead.
package proto

//go:generate sh -c "cd ../../tools && go build -o ../dist/tools/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc"
//go:generate protoc --plugin=../../dist/tools/protoc-gen-go --plugin=../../dist/tools/protoc-gen-go-grpc -I . --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative plugin.proto
