// Sends one request by the .proto file alone and prints the reply, or the error, as JSON.
//
// node client.mjs ADDRESS PROTO_FILE '{"words": ["hello"], "hidden_size": 2, "seed": "-1"}'
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const [address, protoFile, request] = process.argv.slice(2);
// A 64-bit seed does not fit a JavaScript number, hence strings.
const definition = protoLoader.loadSync(protoFile, { keepCase: true, longs: String, enums: String });
const { ForwardService } = grpc.loadPackageDefinition(definition).unrolled.v1;
const client = new ForwardService(address, grpc.credentials.createInsecure());

client.Forward(JSON.parse(request), { deadline: Date.now() + 30_000 }, (error, reply) => {
  const answer = error ? { code: error.code, message: error.details } : reply;
  console.log(JSON.stringify(answer));
  client.close();
});
