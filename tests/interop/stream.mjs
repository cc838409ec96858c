// Sends requests over one stream, by the .proto file alone, and prints the replies by id as JSON.
//
// node stream.mjs ADDRESS PROTO_FILE '[{"id": "0", "words": ["hello"], "hidden_size": 2}, ...]'
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const [address, protoFile, requests] = process.argv.slice(2);
const definition = protoLoader.loadSync(protoFile, { keepCase: true, longs: String, enums: String });
const { ForwardService } = grpc.loadPackageDefinition(definition).unrolled.v1;
const client = new ForwardService(address, grpc.credentials.createInsecure());

const replies = {};
const stream = client.ForwardStream({ deadline: Date.now() + 30_000 });
stream.on("data", (reply) => { replies[reply.id] = reply; }); // in any order; the id tells which
stream.on("error", (error) => { console.error(error); process.exitCode = 1; });
stream.on("end", () => { console.log(JSON.stringify(replies)); client.close(); });
for (const request of JSON.parse(requests)) stream.write(request);
stream.end();
