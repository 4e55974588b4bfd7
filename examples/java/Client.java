// Ask a model, list its versions, promote one and roll back, from Java by generated stubs (docs/guide/stubs.md).
//
//   java Client MODEL [INFERENCE_ADDRESS] [ADMIN_ADDRESS]
//
// MODEL must have two versions at least, that take one FP32 input of two columns. The alias "java" is moved, and removed.
import com.google.protobuf.ByteString;
import inference.GRPCInferenceServiceGrpc;
import inference.OpenInference.ModelInferRequest;
import inference.OpenInference.ModelInferResponse;
import inference.OpenInference.ModelMetadataRequest;
import interlock.v1.Admin.ListVersionsRequest;
import interlock.v1.Admin.MutationOptions;
import interlock.v1.Admin.PromoteRequest;
import interlock.v1.Admin.RemoveAliasRequest;
import interlock.v1.Admin.RollbackRequest;
import interlock.v1.AdminServiceGrpc;
import interlock.v1.ModelOuterClass.Version;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;

public final class Client {
  private static final String ALIAS = "java";

  private final GRPCInferenceServiceGrpc.GRPCInferenceServiceBlockingStub inference;
  private final AdminServiceGrpc.AdminServiceBlockingStub admin;
  private final String model;

  private Client(ManagedChannel inference, ManagedChannel admin, String model) {
    this.inference = GRPCInferenceServiceGrpc.newBlockingStub(inference);
    this.admin = AdminServiceGrpc.newBlockingStub(admin);
    this.model = model;
  }

  /** Asks the alias for the answer to one row, and prints it. */
  private void tell(String what, float... row) {
    var asking = inference.withDeadlineAfter(5, TimeUnit.SECONDS);
    var metadata = asking.modelMetadata(ModelMetadataRequest.newBuilder().setName(model).setVersion(ALIAS).build());
    ByteBuffer raw = ByteBuffer.allocate(4 * row.length).order(ByteOrder.LITTLE_ENDIAN); // row-major
    raw.asFloatBuffer().put(row);
    ModelInferResponse reply = asking.modelInfer(
        ModelInferRequest.newBuilder()
            .setModelName(model)
            .setModelVersion(ALIAS)
            .addInputs(ModelInferRequest.InferInputTensor.newBuilder()
                .setName(metadata.getInputs(0).getName()).setDatatype("FP32").addShape(1).addShape(row.length))
            .addRawInputContents(ByteString.copyFrom(raw))
            .build());
    FloatBuffer found =
        reply.getRawOutputContents(0).asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
    float[] values = new float[found.remaining()];
    found.get(values);
    System.out.println(what + ": version " + reply.getModelVersion() + " answers " + Arrays.toString(values));
  }

  private void run() {
    var changing = admin.withDeadlineAfter(1, TimeUnit.MINUTES);
    List<Version> versions =
        changing.listVersions(ListVersionsRequest.newBuilder().setModel(model).build()).getVersionsList();
    for (Version each : versions) {
      System.out.println(model + "@" + each.getVersion() + ": " + each.getState() + ", " + each.getAliasesList());
    }
    MutationOptions options = MutationOptions.newBuilder().setReason("example").build();
    for (int index = 1; index >= 0; index--) { // the newest is the first
      changing.promote(PromoteRequest.newBuilder()
          .setModel(model).setVersion(versions.get(index).getVersion()).setAlias(ALIAS).setOptions(options).build());
      tell("promoted", 1, 2);
    }
    changing.rollback(RollbackRequest.newBuilder().setModel(model).setAlias(ALIAS).setOptions(options).build());
    tell("rolled back", 1, 2);
    changing.removeAlias(RemoveAliasRequest.newBuilder().setModel(model).setAlias(ALIAS).build());
  }

  public static void main(String[] args) throws InterruptedException {
    String[] addresses = {
      args.length > 1 ? args[1] : "127.0.0.1:8001", args.length > 2 ? args[2] : "127.0.0.1:8002",
    };
    ManagedChannel[] channels = Arrays.stream(addresses)
        .map(address -> ManagedChannelBuilder.forTarget(address).usePlaintext().build())
        .toArray(ManagedChannel[]::new);
    try {
      new Client(channels[0], channels[1], args[0]).run();
    } finally {
      for (ManagedChannel each : channels) {
        each.shutdown().awaitTermination(5, TimeUnit.SECONDS);
      }
    }
  }
}
