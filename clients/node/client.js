// A client of Runwire from its protos alone.
//
//   node client.js ADDRESS list|run|stream|task [MESSAGE [USER]]
//
// PROTOS names the folders with the protos, or descriptor sets (.protoset),
// RUNWIRE_API_KEY the key, DEADLINE the seconds a call may take (60).
"use strict";

const fs = require("fs");
const path = require("path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

// Names stay as the protos write them; int64 becomes a number, enums their names.
const options = { keepCase: true, longs: Number, enums: String, defaults: true, oneofs: true };
const files = ["agent/v1/agent_service.proto", "google/rpc/status.proto", "google/rpc/error_details.proto"];
const definition = load((process.env.PROTOS || "bin/proto").split(path.delimiter));
const { AgentService } = grpc.loadPackageDefinition(definition).agent.v1;

function load(protos) {
  if (!protos[0].endsWith(".protoset")) {
    const found = files.filter((file) => protos.some((folder) => fs.existsSync(path.join(folder, file))));
    return loader.loadSync(found, { ...options, includeDirs: protos });
  }
  return Object.assign({}, ...protos.map((set) => loader.loadFileDescriptorSetFromBuffer(fs.readFileSync(set), options)));
}

function connect(address) {
  return new AgentService(address, grpc.credentials.createInsecure(), {
    "grpc.keepalive_time_ms": 30000,
    "grpc.keepalive_timeout_ms": 10000,
  });
}

function metadata() {
  const md = new grpc.Metadata();
  if (process.env.RUNWIRE_API_KEY) md.set("x-api-key", process.env.RUNWIRE_API_KEY);
  return md;
}

function deadline() {
  return { deadline: Date.now() + 1000 * Number(process.env.DEADLINE || 60) };
}

// unary calls a method and gives a promise of its response.
function unary(client, method, request) {
  return new Promise((resolve, reject) => {
    client[method](request, metadata(), deadline(), (err, response) => (err ? reject(err) : resolve(response)));
  });
}

// stream runs an agent, hands each piece of text to onText, and gives the
// result. It throws when an event is missing.
async function stream(client, request, onText) {
  let sequence = 0;
  let result;
  for await (const { event } of client.StreamRun(request, metadata(), deadline())) {
    if (event.sequence !== sequence + 1 + event.merged) {
      throw new Error(`event ${event.sequence} (merged ${event.merged}) after ${sequence}`);
    }
    sequence = event.sequence;
    if (event.tool_call_id) continue; // an agent says it that was asked as a tool
    switch (event.event) {
      case "text_delta":
        onText(event.text_delta.text);
        break;
      case "retrying": // what the step had said is void
        onText("\n[retrying]\n");
        break;
      case "finished":
        result = event.finished.result;
    }
  }
  return result;
}

// task submits a task, hands each piece of its text to onText, over as many
// calls as that takes, and gives the result.
async function task(client, request, onText) {
  const { task_id } = (await unary(client, "SubmitTask", request)).task;
  for (let after_sequence = 0; ; ) {
    try {
      for await (const { event } of client.WatchTask({ task_id, after_sequence }, metadata(), deadline())) {
        if (event.sequence !== after_sequence + 1 + event.merged) {
          throw new Error(`event ${event.sequence} (merged ${event.merged}) after ${after_sequence}`);
        }
        after_sequence = event.sequence;
        if (event.tool_call_id) continue;
        if (event.event === "text_delta") onText(event.text_delta.text);
        if (event.event === "retrying") onText("\n[retrying]\n");
        if (event.event === "finished") return event.finished.result;
      }
    } catch (err) {
      if (!comesBack(err)) throw err;
    }
    await new Promise((resolve) => setTimeout(resolve, 500)); // the server may be on its way back
  }
}

// comesBack says whether a stream that broke off so is worth another call.
function comesBack(err) {
  const { UNAVAILABLE, ABORTED, CANCELLED, DEADLINE_EXCEEDED, INTERNAL } = grpc.status;
  if (err.code === INTERNAL) return details(err).length === 0; // a proxy that cut the stream
  return [UNAVAILABLE, ABORTED, CANCELLED, DEADLINE_EXCEEDED].includes(err.code);
}

// details reads the google.rpc messages that came with an error, as [type, message] pairs.
function details(err) {
  const [encoded] = err.metadata.get("grpc-status-details-bin");
  const type = definition["google.rpc.Status"]; // missing where nobody has fetched it
  if (!encoded || !type) return [];
  const status = type.deserialize(encoded);
  return status.details.flatMap(({ type_url, value }) => {
    const type = type_url.slice(type_url.lastIndexOf("/") + 1);
    return definition[type] ? [[type, definition[type].deserialize(value)]] : [];
  });
}

function printError(err) {
  console.log(`error ${grpc.status[err.code]}`);
  for (const [type, detail] of details(err)) {
    if (type === "google.rpc.BadRequest") detail.field_violations.forEach((v) => console.log(`field ${v.field}`));
    if (type === "google.rpc.RetryInfo") console.log(`retry after ${Math.ceil(detail.retry_delay.seconds + detail.retry_delay.nanos / 1e9)}s`);
    if (type === "google.rpc.ErrorInfo") console.log(`reason ${detail.reason}`);
  }
}

function printResult(result) {
  console.log(`${result.stop_reason} tools=${result.tool_calls_made.join(",")} tokens=${result.usage.total_tokens}`);
}

async function main(address, command, message = "", user_id = "node") {
  const client = connect(address);
  const request = { message, user_id };
  try {
    switch (command) {
      case "list": {
        const { agents } = await unary(client, "ListAgents", {});
        agents.forEach((a) => console.log(`${a.name} ${a.model} ${a.tools.join(",")}`));
        break;
      }
      case "run": {
        const { result } = await unary(client, "Run", request);
        console.log(result.content);
        printResult(result);
        break;
      }
      case "stream": {
        const result = await stream(client, request, (text) => process.stdout.write(text));
        console.log();
        printResult(result);
        break;
      }
      case "task": {
        const result = await task(client, request, (text) => process.stdout.write(text));
        console.log();
        printResult(result);
        break;
      }
      default:
        throw new Error(`no command ${command}`);
    }
  } catch (err) {
    if (!err.metadata) throw err; // not gRPC's
    printError(err);
    process.exitCode = 1;
  } finally {
    client.close();
  }
}

main(...process.argv.slice(2));
