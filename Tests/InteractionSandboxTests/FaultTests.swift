// Faults over HTTP: what the client sees, and whether the request took effect.

import Foundation
import InteractionSandbox
import Testing

@Suite struct FaultTests {
    /// Plays one fault on one route, and returns what came over the wire and what the ledger says.
    private func play(_ fault: String) async throws -> (received: String, end: WireEnd, entry: LedgerEntry) {
        try await Sandbox.withRunning(logger: quiet) { sandbox, baseURL in
            let client = SandboxClient(baseURL: baseURL)
            let added = try await client.fault(fault)
            #expect(added.status == 201, "\(added.text)")
            let request = UUID().uuidString
            let (received, end) = await exchange(client.wire(request: request), port: try await sandbox.port)
            let entries = sandbox.ledger(LedgerFilter(requestID: request))
            #expect(entries.count == 1)
            return (received, end, try #require(entries.first))
        }
    }

    @Test(arguments: [("reset@x1", LedgerEntry.Effect.none), ("reset-after@x1", .created)])
    func resets(fault: String, effect: LedgerEntry.Effect) async throws {
        let (received, end, entry) = try await play(fault)
        #expect(received.isEmpty)
        #expect(end == .reset)
        #expect(entry.effect == effect)
        #expect(entry.ending == .connectionReset)
        #expect(entry.status == nil)
        #expect(entry.fault == 1)
    }

    @Test(arguments: [("close@x1", LedgerEntry.Effect.none), ("close-after@x1", .created)])
    func closes(fault: String, effect: LedgerEntry.Effect) async throws {
        let (received, end, entry) = try await play(fault)
        #expect(received.isEmpty)
        #expect(end == .closed)
        #expect(entry.effect == effect)
        #expect(entry.ending == .connectionClosed)
    }

    @Test func cutsBodies() async throws {
        let (received, end, entry) = try await play("cut-body@x1")
        #expect(received.hasPrefix("HTTP/1.1 202"))
        #expect(received.contains(#"{"success":true"#))
        #expect(!received.hasSuffix("}"))
        #expect(end == .closed)
        #expect(entry.effect == .created)
        #expect(entry.ending == .answerCut)
    }

    @Test func hangsUntilTheClientGoes() async throws {
        try await Sandbox.withRunning(logger: quiet) { sandbox, baseURL in
            let client = SandboxClient(baseURL: baseURL)
            _ = try await client.fault("hang-after@x1")
            let request = UUID().uuidString
            await #expect(throws: (any Error).self) {
                try await client.call(request: request, timeout: .seconds(2))
            }
            #expect(sandbox.effects(of: request).created == 1)
            #expect(sandbox.ledger(LedgerFilter(requestID: request)).first?.ending == .neverAnswered)
            #expect(try await client.call().status == 202)
        }
    }

    @Test func answersInPlaceOfTheRightAnswer() async throws {
        try await Sandbox.withRunning(logger: quiet) { sandbox, baseURL in
            let client = SandboxClient(baseURL: baseURL)
            func call(_ fault: String) async throws -> (Answer, EffectCount) {
                let added = try await client.fault(fault)
                #expect(added.status == 201, "\(added.text)")
                let request = UUID().uuidString
                return (try await client.call(request: request), sandbox.effects(of: request))
            }
            var (answer, count) = try await call(
                #"{"action":"status","code":10019,"next":1,"retryAfter":"7","message":"moving"}"#)
            #expect(answer.status == 503)
            #expect(answer.code == 10019)
            #expect(answer.object["message"] as? String == "moving")
            #expect(answer.headers["retry-after"] == "7")
            #expect(count.requests == 1 && count.effects == 0)

            (answer, count) = try await call("500-after@x1")
            #expect(answer.status == 500 && answer.code == 500 && count.effects == 1)
            (answer, count) = try await call("503@x1")
            #expect(answer.status == 503 && answer.code == nil && count.effects == 0)
            (answer, count) = try await call("not-json@x1")
            #expect(answer.status == 202 && answer.object.isEmpty && count.effects == 1)
            (answer, count) = try await call("empty-body@x1")
            #expect(answer.status == 202 && answer.text.isEmpty && count.effects == 1)
            (answer, count) = try await call("failure:10024@x1")
            #expect(answer.status == 202 && answer.success == false && count.effects == 0)
            #expect((answer.object["errors"] as? [String: Any])?["apiErrorCode"] as? String == "10024")
            (answer, count) = try await call(#"{"action":"slow-body","byteIntervalMs":1,"next":1}"#)
            #expect(answer.status == 202 && answer.success == true && count.effects == 1)
            (answer, count) = try await call("latency=20-30@x1")
            #expect(answer.status == 202 && count.effects == 1)
            (answer, count) = try await call(#"{"action":"latency","latencyMs":20,"effect":"late","next":1}"#)
            #expect(answer.status == 202 && count.effects == 1)
            (answer, count) = try await call(#"{"action":"status","status":418,"body":"teapot","next":1}"#)
            #expect(answer.status == 418 && answer.text == "teapot")
            (answer, count) = try await call("429@x1")
            #expect(answer.status == 429 && answer.code == 429 && answer.headers["retry-after"] == nil)
            (answer, count) = try await call("failure@x1")
            #expect((answer.object["errors"] as? [String: Any])?["apiErrorCode"] as? String == "10058")
            // The ledger has the code of the answer, whether or not the rule gave one.
            #expect(
                sandbox.ledger().map(\.code)
                    == [10019, 500, nil, nil, nil, 10024, nil, nil, nil, nil, 429, 10058])

            let faults = try await client.send("GET", "/sandbox/faults")
            let rules = try #require(faults.object["faults"] as? [[String: Any]])
            #expect(rules.count == 12)
            #expect(rules.allSatisfy { $0["hits"] as? Int == 1 && $0["next"] as? Int == 0 })
            #expect(sandbox.summary().totals.faults == 12)
            #expect(try await client.send("DELETE", "/sandbox/faults/3").status == 204)
            #expect(try await client.send("DELETE", "/sandbox/faults/3").status == 404)
            #expect(try await client.send("DELETE", "/sandbox/faults").status == 204)
            #expect(try await client.send("GET", "/sandbox/faults").text == "{\"faults\":[]}\n")
        }
    }

    @Test func meetsOnlyWhatMatches() async throws {
        try await Sandbox.withRunning(logger: quiet) { _, baseURL in
            let client = SandboxClient(baseURL: baseURL)
            let request = UUID().uuidString
            let matches = [
                #"{"method":"DELETE"}"#, #"{"org":"00DSB0000000009"}"#, #"{"conversation":"special"}"#,
                #"{"requestId":"\#(request)"}"#,
            ]
            for (index, match) in matches.enumerated() {
                let added = try await client.fault(#"{"action":"status","status":\#(500 + index),"match":\#(match)}"#)
                #expect(added.status == 201)
            }
            #expect(try await client.call().status == 202)
            #expect(try await client.call("DELETE").status == 500)
            #expect(try await client.call(headers: ["OrgId": "00DSB0000000009"]).status == 501)
            #expect(try await client.call(conversation: "special").status == 502)
            #expect(try await client.call(request: request.lowercased()).status == 503)
        }
    }

    @Test(arguments: [
        "", "boom", "503@", "503@2", "999", "latency", "latency=0", "latency=9-3", "latency=5-", "latency=1-2-3",
        "status", "503@150%", "503@x0", "reset:5",
        #"{"action":"status","statsu":500}"#, #"{"action":"none"}"#, #"{"status":500}"#, "{", "[1]",
        #"{"action":"latency","latencyMs":5,"effect":"none"}"#, #"{"action":"reset","probability":0.5,"next":2}"#,
        #"{"action":"reset","match":{"org":"x"}}"#, #"{"action":"status","retryAfter":"1\r\nX: y"}"#,
    ])
    func refusesFaultsThatCannotBe(text: String) async throws {
        try await Sandbox.withRunning(logger: quiet) { _, baseURL in
            let client = SandboxClient(baseURL: baseURL)
            let answer = try await client.fault(text)
            #expect(answer.status == 400, "\(answer.text)")
            #expect(try await client.send("GET", "/sandbox/faults").text == "{\"faults\":[]}\n")
        }
    }

    @Test(arguments: [
        (#"{"action":"stats"}"#, "action: stats is unknown; known are latency, status, reset"),
        (#"{"action":"hang","match":{"endpoint":"x"}}"#, "match: endpoint: x is unknown; known are route, token"),
        (#"{"action":"hang","effect":"x"}"#, "effect: x is unknown; known are none, at-once, late"),
        (#"[{"action":"hang"},{"match":{"orgs":"x"}}]"#, "Index 1: match: orgs is unknown; known are endpoint, org"),
        (#"[{"action":"hang"},{"next":1}]"#, "Index 1: action is missing"),
        (#"{"action":"hang","next":"3"}"#, "next: "),
        (#"{"action":"hang","action":"reset"}"#, "not valid JSON: a key stands twice"),
        ("slow", "slow is no fault; known are a status (503)"), ("503@often", "often: a rate is written 2% or x3"),
    ])
    func saysWhatIsWrongWithAFault(text: String, words: String) {
        let problem = #expect(throws: InvalidFault.self) { try Fault.parse(text) }
        #expect(problem?.description.hasPrefix(words) == true, "\(problem?.description ?? "nothing")")
    }

    @Test func theSeedDecides() async throws {
        func failures(seed: UInt64) async throws -> [Int] {
            var settings = SandboxSettings()
            settings.seed = seed
            settings.faults = [try Fault(shorthand: "503@50%")]
            return try await Sandbox.withRunning(settings: settings, logger: quiet) { _, baseURL in
                let client = SandboxClient(baseURL: baseURL)
                var statuses: [Int] = []
                for _ in 0..<32 { statuses.append(try await client.call().status) }
                return statuses
            }
        }
        let first = try await failures(seed: 7)
        #expect(first.contains(503) && first.contains(202))
        #expect(try await failures(seed: 7) == first)
        #expect(try await failures(seed: 8) != first)
    }
}
