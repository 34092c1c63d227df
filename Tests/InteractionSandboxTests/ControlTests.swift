// The control API, and the life of the service.

import Foundation
import InteractionSandbox
import RoutingContract
import ServiceLifecycle
import TestSupport
import Testing

@Suite struct ControlTests {
    @Test func theLedgerTellsEveryRequest() async throws {
        try await Sandbox.withRunning(logger: quiet) { sandbox, baseURL in
            let client = SandboxClient(baseURL: baseURL)
            let conversation = UUID().uuidString.lowercased()
            let request = UUID().uuidString
            _ = try await client.call(conversation: conversation, request: request)
            _ = try await client.call(conversation: conversation, request: request)
            _ = try await client.call("DELETE", conversation: conversation)
            _ = try await client.call(body: "{")
            _ = try await client.call(headers: ["OrgId": "00DSB0000000002", "RequestId": nil])

            let page = try await client.send("GET", "/sandbox/ledger")
            #expect(!page.text.contains("secret-token"))
            let entries = try #require(page.object["entries"] as? [[String: Any]])
            #expect(page.object["next"] == nil)
            #expect(entries.map { $0["sequence"] as? Int } == [1, 2, 3, 4, 5])
            #expect(entries.map { $0["effect"] as? String } == ["created", "created", "cleared", "none", "none"])
            #expect(entries.map { $0["status"] as? Int } == [202, 202, 202, 400, 400])
            #expect(entries.map { $0["code"] as? Int } == [nil, nil, nil, 10089, 10016])
            #expect(entries[0]["requestId"] as? String == request)
            #expect(entries[0]["conversation"] as? String == conversation)
            #expect(entries[0]["ending"] as? String == "answered")
            #expect(entries[2]["cleared"] as? Int == 2)
            #expect(entries[3]["bodyBytes"] as? Int == 1)
            #expect(entries[4]["requestId"] == nil)
            let headers = try #require(entries[0]["headers"] as? [String: String])
            #expect(headers["RequestId"] == request)
            #expect(headers["Authorization"] == "(hidden)")

            func sequences(_ query: String) async throws -> [Int] {
                let page = try await client.send("GET", "/sandbox/ledger?\(query)")
                return (page.object["entries"] as? [[String: Any]] ?? []).compactMap { $0["sequence"] as? Int }
            }
            #expect(try await sequences("requestId=\(request.lowercased())") == [1, 2])
            #expect(try await sequences("conversation=\(conversation)") == [1, 2, 3])
            #expect(try await sequences("org=00DSB0000000002") == [5])
            #expect(try await sequences("after=1&limit=2") == [2, 3])
            #expect(try await sequences("since=0") == [1, 2, 3, 4, 5])
            #expect(try await sequences("since=\(try #require(entries[0]["time"] as? String))") == [1, 2, 3, 4, 5])
            #expect(try await sequences("since=2999-01-01T00:00:00Z") == [])
            #expect(try await client.send("GET", "/sandbox/ledger?since=yesterday").status == 400)
            #expect(try await client.send("GET", "/sandbox/ledger?limit=2").object["next"] as? Int == 2)
            let misspelt = try await client.send("GET", "/sandbox/ledger?requestID=\(request)")
            #expect(misspelt.status == 400 && misspelt.text.contains("requestID is unknown here; known are requestId"))

            let lines = try await client.send("GET", "/sandbox/ledger?format=ndjson").text.split(separator: "\n")
            #expect(lines.count == 5)
            #expect(lines.allSatisfy { (try? JSONSerialization.jsonObject(with: Data($0.utf8))) is [String: Any] })

            let effects = try await client.send("GET", "/sandbox/effects?minEffects=2")
            #expect(effects.object["total"] as? Int == 1)
            let one = try await client.send("GET", "/sandbox/effects/\(request)")
            #expect(one.object["requests"] as? Int == 2)
            #expect(one.object["effects"] as? Int == 2)
            #expect(try await client.send("GET", "/sandbox/effects/unheard-of").object["requests"] as? Int == 0)

            let summary = sandbox.summary()
            #expect(summary.totals.requests == 5)
            #expect(summary.totals.statuses == [202: 3, 400: 2])
            #expect(summary.requestIDs.withMoreThanOneEffect == 1)
            #expect(summary.routings.waiting == 0 && summary.routings.cleared == 2)
            let shown = try await client.send("GET", "/sandbox/summary")
            #expect(try JSONDecoder().decode(SandboxSummary.self, from: Data(shown.text.utf8)) == summary)

            #expect(try await client.send("DELETE", "/sandbox/ledger").status == 204)
            #expect(sandbox.ledger().isEmpty)
            #expect(sandbox.summary().totals.requests == 0)
            _ = try await client.call()
            #expect(sandbox.ledger().map(\.sequence) == [6])
        }
    }

    @Test func repsAcceptOnDemand() async throws {
        try await Sandbox.withRunning(logger: quiet) { sandbox, baseURL in
            let client = SandboxClient(baseURL: baseURL)
            _ = try await client.call(conversation: "c")
            _ = try await client.call(conversation: "d")
            _ = try await client.call(conversation: "é +&")
            for spelling in ["%C3%A9+%2B%26", "%c3%a9%20%2b%26"] {
                let found = try await client.send("GET", "/sandbox/psrs?conversation=\(spelling)")
                #expect((found.object["psrs"] as? [Any])?.count == 1)
            }
            let accepted = try await client.send("POST", "/sandbox/psrs/accept?conversation=c")
            #expect(accepted.object["accepted"] as? Int == 1)
            #expect(try await client.call("DELETE", conversation: "c").success == false)
            let waiting = try await client.send("GET", "/sandbox/psrs?state=waiting")
            let psrs = try #require(waiting.object["psrs"] as? [[String: Any]])
            #expect(psrs.map { $0["conversation"] as? String } == ["d", "é +&"])
            #expect(try await client.send("DELETE", "/sandbox/psrs").status == 204)
            #expect(try await client.call("DELETE", conversation: "d").success == false)
        }
    }

    @Test func greets() async throws {
        try await Sandbox.withRunning(logger: quiet) { _, baseURL in
            let client = SandboxClient(baseURL: baseURL)
            let page = try await client.send("GET", "/")
            #expect(page.status == 200)
            #expect(page.text.contains("curl -X POST \(baseURL)/api/v1/route"))
            #expect(try await client.send("GET", "/sandbox/health").object["status"] as? String == "ok")
            for (method, path) in [("GET", "/nowhere"), ("POST", "/sandbox/ledger")] {
                let lost = try await client.send(method, path)
                #expect(lost.status == 404)
                #expect(lost.text.contains("there is no \(method) \(path) here; GET / lists what there is"))
            }
            let wrong = try await client.send("GET", "/api/v1/route")
            #expect(wrong.status == 405 && wrong.headers["allow"] == "POST, DELETE")
            #expect(wrong.text.contains("POST routes, DELETE clears"))
        }
    }

    @Test func shutsDownGracefullyWithAConnectionHanging() async throws {
        var settings = SandboxSettings()
        settings.port = 0
        settings.faults = [try Fault(shorthand: "hang")]
        let sandbox = try Sandbox(settings: settings, logger: quiet)
        let group = ServiceGroup(configuration: .init(services: [sandbox], logger: quiet))
        async let running: Void = group.run()
        let port = try await sandbox.port
        let client = SandboxClient(baseURL: try await sandbox.baseURL)
        async let hanging = exchange(client.wire(request: UUID().uuidString), port: port)
        try await until("the request that hangs") { !sandbox.ledger().isEmpty }
        await group.triggerGracefulShutdown()
        try await running
        #expect(await hanging.received.isEmpty)
        #expect(await exchange("GET / HTTP/1.1\r\n\r\n", port: port).end == .failed(ECONNREFUSED))
    }

    @Test func saysWhenThePortIsTaken() async throws {
        try await Sandbox.withRunning(logger: quiet) { sandbox, _ in
            var settings = SandboxSettings()
            settings.port = try await sandbox.port
            let second = try Sandbox(settings: settings, logger: quiet)
            await #expect(throws: (any Error).self) { try await second.run() }
            await #expect(throws: (any Error).self) { try await second.port }
        }
    }
}
