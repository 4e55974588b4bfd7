// Ask a model, list its versions, promote one and roll back, from Go by generated stubs (docs/guide/stubs.md).
//
//	go run . MODEL [INFERENCE_ADDRESS] [ADMIN_ADDRESS]
//
// MODEL must have two versions at least, that take one FP32 input of two columns. The alias "go" is moved, and removed.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"example.com/you/interlock/protocols"
	interlock "example.com/you/interlock/v1"
)

const alias = "go"

type client struct {
	inference protocols.GRPCInferenceServiceClient
	admin     interlock.AdminServiceClient
	model     string
}

// infer asks one version or alias for the answer to one row.
func (c client) infer(ctx context.Context, version string, row []float32) (string, []float32, error) {
	metadata, err := c.inference.ModelMetadata(ctx, &protocols.ModelMetadataRequest{Name: c.model, Version: version})
	if err != nil {
		return "", nil, err
	}
	raw := new(bytes.Buffer) // little-endian, row-major
	if err := binary.Write(raw, binary.LittleEndian, row); err != nil {
		return "", nil, err
	}
	reply, err := c.inference.ModelInfer(ctx, &protocols.ModelInferRequest{
		ModelName:    c.model,
		ModelVersion: version,
		Inputs: []*protocols.ModelInferRequest_InferInputTensor{
			{Name: metadata.Inputs[0].Name, Datatype: "FP32", Shape: []int64{1, int64(len(row))}},
		},
		RawInputContents: [][]byte{raw.Bytes()},
	})
	if err != nil {
		return "", nil, err
	}
	values := make([]float32, len(reply.RawOutputContents[0])/4)
	err = binary.Read(bytes.NewReader(reply.RawOutputContents[0]), binary.LittleEndian, values)
	return reply.ModelVersion, values, err
}

func (c client) tell(ctx context.Context, what string) error {
	version, values, err := c.infer(ctx, alias, []float32{1, 2})
	if err == nil {
		fmt.Printf("%s: version %s answers %v\n", what, version, values)
	}
	return err
}

func (c client) run(ctx context.Context) error {
	listed, err := c.admin.ListVersions(ctx, &interlock.ListVersionsRequest{Model: c.model})
	if err != nil {
		return err
	}
	for _, each := range listed.Versions {
		fmt.Printf("%s@%d: %s, %d bytes, %v\n", c.model, each.Version, each.State, each.SizeBytes, each.Aliases)
	}
	options := &interlock.MutationOptions{Reason: "example"}
	for index := 1; index >= 0; index-- { // the newest is the first
		request := &interlock.PromoteRequest{
			Model: c.model, Version: listed.Versions[index].Version, Alias: alias, Options: options,
		}
		if _, err := c.admin.Promote(ctx, request); err != nil {
			return err
		}
		if err := c.tell(ctx, "promoted"); err != nil {
			return err
		}
	}
	if _, err := c.admin.Rollback(ctx, &interlock.RollbackRequest{Model: c.model, Alias: alias, Options: options}); err != nil {
		return err
	}
	if err := c.tell(ctx, "rolled back"); err != nil {
		return err
	}
	if _, err := c.admin.RemoveAlias(ctx, &interlock.RemoveAliasRequest{Model: c.model, Alias: alias}); err != nil {
		return err
	}
	return c.refused(ctx)
}

// refused asks the alias that was removed, and shows what an error says.
func (c client) refused(ctx context.Context) error {
	_, _, err := c.infer(ctx, alias, []float32{1, 2})
	said := status.Convert(err)
	if said.Code() != codes.NotFound || !strings.Contains(said.Message(), alias) {
		return fmt.Errorf("an alias that is not there: %v", err)
	}
	fmt.Printf("refused: %s: %s\n", said.Code(), said.Message())
	return nil
}

func main() {
	addresses := []string{"127.0.0.1:8001", "127.0.0.1:8002"}
	copy(addresses, os.Args[2:])
	connections := make([]*grpc.ClientConn, len(addresses))
	for index, address := range addresses {
		connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			log.Fatal(err)
		}
		defer connection.Close()
		connections[index] = connection
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	asking := client{
		protocols.NewGRPCInferenceServiceClient(connections[0]), interlock.NewAdminServiceClient(connections[1]), os.Args[1],
	}
	if err := asking.run(ctx); err != nil {
		log.Fatal(err)
	}
}
