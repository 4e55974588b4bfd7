// Ask a model, list its versions, promote one and roll back, from Node.js by the .proto files alone.
//
//   npm install
//   node client.js MODEL [INFERENCE_ADDRESS] [ADMIN_ADDRESS]
//
// MODEL must have two versions at least, that take one FP32 input. The alias "node" is moved, and removed.
'use strict';

const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const protoLoader = require('@grpc/proto-loader');

const PROTO = path.join(__dirname, '..', '..', 'proto');
const ALIAS = 'node';
const DEADLINE_S = 30;

const definitions = protoLoader.loadSync(
  ['interlock/protocols/open_inference.proto', 'interlock/protocols/health.proto', 'interlock/v1/admin.proto'],
  { includeDirs: [PROTO], keepCase: true, longs: Number, enums: String, defaults: true },
);
const { inference, interlock, grpc: health } = grpc.loadPackageDefinition(definitions);

// One method of a client as a promise, with a deadline.
function call(client, method, request) {
  const deadline = new Date(Date.now() + DEADLINE_S * 1000);
  return new Promise((resolve, reject) => {
    client[method](request, { deadline }, (error, reply) => (error ? reject(error) : resolve(reply)));
  });
}

function floats(values) {
  return Buffer.from(Float32Array.from(values).buffer);
}

// Asks with 1, 2, 3, … in the shape that the model takes; one row, where it takes any number.
async function infer(client, model, version) {
  const metadata = await call(client, 'ModelMetadata', { name: model, version });
  const shape = metadata.inputs[0].shape.map((size) => Math.max(size, 1));
  const count = shape.reduce((product, size) => product * size, 1);
  const reply = await call(client, 'ModelInfer', {
    model_name: model,
    model_version: version,
    inputs: [{ name: metadata.inputs[0].name, datatype: 'FP32', shape }],
    raw_input_contents: [floats(Array.from({ length: count }, (_, index) => index + 1))],
  });
  const raw = reply.raw_output_contents[0];
  const bytes = raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.length); // a Float32Array must be aligned
  return { version: Number(reply.model_version), values: Array.from(new Float32Array(bytes)) };
}

async function main(model, inferenceAddress = '127.0.0.1:8001', adminAddress = '127.0.0.1:8002') {
  const plain = grpc.credentials.createInsecure();
  const client = new inference.GRPCInferenceService(inferenceAddress, plain);
  const admin = new interlock.v1.AdminService(adminAddress, plain);
  const alive = new health.health.v1.Health(inferenceAddress, plain);

  const { status } = await call(alive, 'Check', { service: 'inference.GRPCInferenceService' });
  console.log(`health: ${status}`);

  const { versions } = await call(admin, 'ListVersions', { model });
  for (const each of versions) {
    console.log(`${model}@${each.version}: ${each.state}, ${each.size_bytes} bytes, ${each.aliases.join(' ') || 'no alias'}`);
  }
  const [newer, older] = versions.map((each) => each.version);

  for (const version of [older, newer]) {
    const { result } = await call(admin, 'Promote', { model, version, alias: ALIAS, options: { reason: 'example' } });
    console.log(`promoted ${result.to_version} (from ${result.from_version}), generation ${result.generation}`);
    const answer = await infer(client, model, ALIAS);
    console.log(`version ${answer.version} answers ${answer.values}`);
  }
  const { result } = await call(admin, 'Rollback', { model, alias: ALIAS, options: { reason: 'example' } });
  const answer = await infer(client, model, ALIAS);
  console.log(`rolled back to ${result.to_version}: version ${answer.version} answers ${answer.values}`);
  await call(admin, 'RemoveAlias', { model, alias: ALIAS });

  try {
    await infer(client, model, ALIAS);
  } catch (error) {
    console.log(`${grpc.status[error.code]}: ${error.details}`);
  }
  for (const each of [client, admin, alive]) each.close();
}

main(...process.argv.slice(2)).catch((error) => {
  console.error(error.details || error.message);
  process.exit(1);
});
