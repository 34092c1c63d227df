// The log of a real worker: a reader that does not keep up, the level, and traces.

import AMQPMessage
import CommandClient
import Foundation
import InteractionSandbox
import RoutingContract
import TestSupport
import Testing

@Suite("Log", .serialized, .showsWorkerLog, .timeLimit(.minutes(3)))
struct LogTests {
    @Test("A log that nobody reads holds up no command; what is lost is counted, and told where it is missing")
    func stalled() async throws {
        try await withHarness { harness in
            let fifo = try Fifo(harness.folder.path("stderr"))
            let worker = try ChildProcess(
                URL(fileURLWithPath: "/bin/sh"),
                [
                    "-c", #"exec "$0" "$@" 2>"$FIFO""#, try ChildProcess.product("route-worker").path, "run",
                    "--config", harness.configFile, "--set", "log.buffer=64KiB", "--set", "log.format=json", "--set",
                    "store.url=memory:",
                ], environment: ["AMQP_URL": harness.brokerURL, "FIFO": fifo.path])
            let opened = try await fifo.line(containing: "the admin port is open")
            let line = try #require(try JSONSerialization.jsonObject(with: Data(opened.utf8)) as? [String: String])
            let admin = AdminClient(address: try #require(line["address"]))

            // Some 400 bytes a line: more than the pipe and both buffers hold.
            let answers = try harness.collectAnswers()
            try await harness.send((0..<1000).map { _ in .route() })
            #expect(try await answers.first(1000).allSatisfy { $0.outcome == .succeeded })
            try await until("dropped lines") {
                try await admin.get("/metrics").body.contains(#/route_worker_log_lines_dropped_total [1-9]/#)
            }
            #expect(try await admin.get("/readyz").status == 200)
            try await fifo.line(containing: "log lines dropped")
            worker.send(SIGTERM)
            try await fifo.line(containing: #""message":"drained""#)
            #expect(await worker.exit() == .code(0))
        }
    }

    @Test("The level changes over the admin port, and back with a reload")
    func level() async throws {
        try await withHarness { harness in
            let worker = try await harness.startWorker()
            let admin = try await AdminClient(of: worker)
            #expect(try await admin.get("/log-level").body == "info\n")
            #expect(try await admin.ask(.PUT, "/log-level", "loud").status == 400)
            #expect(
                try await admin.ask(.PUT, "/log-level", String(repeating: "x", count: 2000)).status == 413)
            #expect(try await admin.ask(.PUT, "/log-level", "debug\n").body == "debug\n")
            try await worker.line(containing: "the log level was changed level=debug")
            worker.send(SIGHUP)
            try await until("the configured level") { try await admin.get("/log-level").body == "info\n" }
            #expect(await worker.stop() == .code(0))
        }
    }

    @Test("A trace goes from the command to the call, the answer, the dead letter and the log")
    func traces() async throws {
        try await withHarness { harness in
            let trace = "4bf92f3577b34da6a3ce929d0e0e4736"
            let headers: [(name: String, value: FieldValue)] = [
                ("traceparent", .string("00-\(trace)-00f067aa0ba902b7-01")),
                ("tracestate", .string("congo=t61rcWkgMzE")),
            ]
            var good = CommandSpec.route()
            var bad = CommandSpec.route()
            for (name, value) in headers {
                good.message.properties.headers[name] = value
                bad.message.properties.headers[name] = value
            }
            let worker = try await harness.startWorker()
            try await harness.send([good])
            var results: [Message] = []
            try await until("an answer") {
                results += try await harness.take(from: harness.results)
                return results.count == 1
            }
            try harness.sandbox.add(Fault(shorthand: "failure:10024"))
            try await harness.send([bad])
            let deadLetter = try await harness.deadLetter()
            try await until("an answer") {
                results += try await harness.take(from: harness.results)
                return results.count == 2
            }
            #expect(results.compactMap(\.outcome) == ["succeeded", "rejected"])
            for message in results + [deadLetter] {
                for (name, value) in headers { #expect(message.properties.headers[name] == value) }
            }
            let calls = harness.sandbox.ledger()
            #expect(calls.count == 2)
            for call in calls {
                for (name, value) in headers {
                    #expect(call.headers?[name].map(FieldValue.string) == value)
                }
            }
            for command in [good, bad] {
                try await worker.line { $0.contains("requestId=\(command.id)") && $0.contains("traceId=\(trace)") }
            }
            #expect(await worker.stop() == .code(0))
        }
    }
}

/// A named pipe that is read only when a test does so.
private final class Fifo {
    let path: String
    private let descriptor: Int32
    private var rest: [UInt8] = []

    init(_ path: String) throws {
        self.path = path
        guard mkfifo(path, 0o600) == 0 else { throw Missing("a named pipe") }
        // Both ends, so that neither side waits for the other to open it.
        descriptor = open(path, O_RDWR | O_NONBLOCK)
    }

    deinit { close(descriptor) }

    /// Reads on, until a line contains `text`.
    @discardableResult
    func line(containing text: String) async throws -> String {
        try await eventually("a line with \(text)") {
            var buffer = [UInt8](repeating: 0, count: 65_536)
            let count = read(descriptor, &buffer, buffer.count)
            if count > 0 { rest += buffer[..<count] }
            while let end = rest.firstIndex(of: 0x0A) {
                let line = String(decoding: rest[..<end], as: UTF8.self)
                rest.removeFirst(end + 1)
                if line.contains(text) { return line }
            }
            return nil
        }
    }
}
