// The admin port of a real worker: probes while parts of it are away, metrics that Prometheus reads, a port that is taken.

import AsyncHTTPClient
import CommandClient
import Foundation
import InteractionSandbox
import NIOCore
import NIOHTTP1
import TestSupport
import Testing

@Suite("Admin port", .serialized, .showsWorkerLog, .timeLimit(.minutes(4)))
struct AdminTests {
    @Test("Metrics are what was sent, and Prometheus reads them")
    func metrics() async throws {
        try await withHarness { harness in
            let worker = try await harness.startWorker()
            let admin = try await AdminClient(of: worker)
            let commands =
                (0..<5).map { _ in CommandSpec.route() } + (0..<2).map { _ in CommandSpec.route(org: "globex") }
            let transfer = CommandSpec.route(type: "Transfer", issuedAt: -1)
            _ = try await harness.ask(commands[0], transfer)
            try await harness.send(Array(commands.dropFirst()))
            // Once more, and one that is nobody's.
            _ = try await harness.ask(commands[0], CommandSpec.route(org: "stranger"))
            let expected = [
                #"route_worker_commands_total{org="acme",command="route",outcome="succeeded"} 6"#,
                #"route_worker_commands_total{org="globex",command="route",outcome="succeeded"} 2"#,
                #"outcome="invalid"} 1"#,
                #"route_worker_duplicates_total{org="acme"} 1"#,
                #"route_worker_deliveries_total{queue="\#(harness.queues[0])"} 10"#,
                #"route_worker_calls_total{org="acme",result="2xx"} 6"#,
                #"route_worker_call_seconds_count{org="globex"} 2"#,
                #"route_worker_critical_time_seconds_count{type="transfer"} 1"#,
                #"route_worker_critical_time_seconds_bucket{type="transfer",le="0.5"} 0"#,
                #"route_worker_publishes_total{result="confirmed"} 11"#,
                #"route_worker_in_flight 0"#,
                #"route_worker_unacknowledged{queue="\#(harness.queues[0])"} 0"#,
                #"route_worker_prefetch{queue="\#(harness.queues[0])"} 128"#,
                #"route_worker_consuming{queue="\#(harness.queues[0])"} 1"#,
                #"route_worker_connected{connection="publisher"} 1"#,
                #"route_worker_queue_consumers{queue="\#(harness.queues[0])"} 1"#,
                #"route_worker_org_parked{org="acme"} 0"#, "route_worker_dead_letters 1",
                "route_worker_store_up 1", "route_worker_ready 1", "route_worker_live 1",
            ]
            var text = ""
            do {
                try await until("metrics") {
                    text = try await admin.get("/metrics").body
                    return expected.allSatisfy { text.contains($0 + "\n") }
                }
            } catch is Missing {
                for line in expected { #expect(text.contains(line + "\n"), "\(line) is not in\n\(text)") }
            }
            // No label tells of a person or an org that is not configured.
            #expect(!text.contains("stranger") && !commands.contains { text.contains($0.id) })
            try await Promtool.check(text, in: harness.folder)
            #expect(await worker.stop() == .code(0))
        }
    }

    @Test("A broker that is gone is not ready at once, and not live when it stays away; both when it is back")
    func brokerAway() async throws {
        try await withPrivateBroker { broker in
            let options = HarnessOptions(settings: ["admin.livenessLimit=3s"], brokerURL: broker.url)
            try await withHarness(options) { harness in
                let worker = try await harness.startWorker()
                let admin = try await AdminClient(of: worker)
                try await admin.until("/readyz", 200, "ready")
                try await admin.until("/livez", 200, "live")
                try await broker.kill()
                try await admin.until("/readyz", 503, "broker: not connected")
                try await admin.until("/livez", 503, "not consuming for")
                try await admin.until("/metrics", 200, "route_worker_live 0\n")
                try await broker.restart()
                try await admin.until("/readyz", 200, "ready")
                try await admin.until("/livez", 200, "live")
                #expect(await worker.stop() == .code(0))
            }
        }
    }

    @Test("A store that is gone and tokens that are missing are named by the probe of an idle worker")
    func storeAndTokensAway() async throws {
        try await withPrivateDatabase(.redis) { redis in
            try await withHarness(
                HarnessOptions(settings: ["store.timeout=1s"], storeURL: redis.url)
            ) { harness in
                let token = harness.folder.path("token")
                let text = try String(contentsOfFile: token, encoding: .utf8)
                try FileManager.default.removeItem(atPath: token)
                let worker = try await harness.startWorker()
                let admin = try await AdminClient(of: worker)
                try await admin.until("/readyz", 503, "tokens: none of 2 orgs has an access token")
                try await worker.line(containing: "the org has no access token")
                try await admin.until("/metrics", 200, #"route_worker_token_missing{org="acme"} 1"#)
                _ = try harness.folder.write(text, to: "token")
                try await admin.until("/readyz", 200, "ready")
                try await redis.kill()
                try await admin.until("/readyz", 503, "store: ")
                #expect(try await admin.get("/livez").status == 200)
                try await redis.restart()
                try await admin.until("/readyz", 200, "ready")
                #expect(await worker.stop() == .code(0))
            }
        }
    }

    @Test("Probes answer while the worker drains")
    func draining() async throws {
        try await withHarness(HarnessOptions(settings: ["defaults.callTimeout=39s"])) { harness in
            try harness.sandbox.add(Fault(shorthand: "hang"))
            let worker = try await harness.startWorker()
            let admin = try await AdminClient(of: worker)
            try await harness.send([.route()])
            try await until("the call") { harness.sandbox.ledger().count == 1 }
            worker.send(SIGTERM)
            try await admin.until("/readyz", 503, "draining")
            #expect(try await admin.get("/livez").status == 200)
            await worker.crash()
        }
    }

    @Test("Who asks on and on and reads nothing is cut off")
    func unreadAnswers() async throws {
        try await withHarness { harness in
            let worker = try await harness.startWorker()
            let admin = try await AdminClient(of: worker)
            let page = try await admin.get("/metrics").body.utf8.count
            // More than the system keeps for a connection, by far.
            let count = (32 << 20) / page
            let client = try connection(to: admin)
            defer { close(client) }
            let requests = Array(String(repeating: "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", count: count).utf8)
            #expect(write(client, requests, requests.count) == requests.count)
            // Not read before the server has turned to it: it answers somebody who reads for as long as he does.
            for _ in 0..<5 { try await admin.until("/livez", 200, "live") }
            var (answered, bytes) = (0, [UInt8](repeating: 0, count: 1 << 20))
            while true {
                let got = read(client, &bytes, bytes.count)
                // Nothing for so long: it is kept.
                #expect(got >= 0 || errno == ECONNRESET, "\(String(cString: strerror(errno)))")
                guard got > 0 else { break }
                answered += got
            }
            #expect(answered < count * page)
            #expect(await worker.stop() == .code(0))
        }
    }

    /// A connection that waits no longer than 10 s for bytes, and for which the system keeps few.
    private func connection(to admin: AdminClient) throws -> Int32 {
        let port = try #require(UInt16(admin.address.split(separator: ":")[1]))
        let client = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var patience = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        var kept: Int32 = 64 << 10
        setsockopt(client, SOL_SOCKET, SO_RCVBUF, &kept, socklen_t(MemoryLayout<Int32>.size))
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
        let status = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(client, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        try #require(status == 0)
        return client
    }

    @Test("A port that is taken does not stop a worker, and is opened when it is free")
    func takenPort() async throws {
        try await withHarness { harness in
            let first = try await harness.startWorker()
            let admin = try await AdminClient(of: first)
            let second = try harness.tool("run", "--set", "admin.address=\(admin.address)")
            try await second.line(containing: "cannot open the admin port")
            #expect(await first.stop() == .code(0))
            #expect(try await harness.ask(.route())[0].outcome == .succeeded)
            #expect(try await AdminClient(of: second).address == admin.address)
            try await admin.until("/livez", 200, "live")
            #expect(try await admin.get("/nothing").status == 404)
            #expect(try await admin.ask(.POST, "/livez").status == 405)
            #expect(await second.stop() == .code(0))
        }
    }
}

/// Asks a worker's admin port.
struct AdminClient {
    /// `HOST:PORT`
    let address: String

    init(address: String) { self.address = address }

    /// Waits until the worker says where its port is.
    init(of worker: ChildProcess) async throws {
        let line = try await worker.line(containing: "the admin port is open")
        guard let start = line.firstRange(of: "address=") else { throw Missing("an address in: \(line)") }
        address = String(line[start.upperBound...].prefix { $0 != " " })
    }

    func get(_ path: String) async throws -> (status: Int, body: String) { try await ask(.GET, path) }

    func ask(_ method: HTTPMethod, _ path: String, _ body: String? = nil) async throws -> (status: Int, body: String) {
        var request = HTTPClientRequest(url: "http://\(address)\(path)")
        request.method = method
        if let body { request.body = .bytes(Array(body.utf8)) }
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(30))
        return (Int(response.status.code), String(buffer: try await response.body.collect(upTo: 16 << 20)))
    }

    /// Waits for an answer.
    func until(_ path: String, _ status: Int, _ text: String) async throws {
        var last = (status: 0, body: "")
        try await TestSupport.until("\(status) '\(text)' of \(path), it is \(last)") {
            last = try await get(path)
            return last.status == status && last.body.contains(text)
        }
    }
}

/// Prometheus' own judgement.
enum Promtool {
    /// Throws what is wrong with metrics in text form.
    static func check(_ text: String, in folder: TemporaryFolder) async throws {
        let file = try folder.write(text, to: "metrics.txt")
        try await ChildProcess.run(
            URL(fileURLWithPath: "/bin/sh"), ["-c", #"exec promtool check metrics <"$0""#, file])
    }
}
