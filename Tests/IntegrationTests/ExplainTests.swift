// `route-worker explain`: what it says of a story, and that the store has the whole of it.

import CommandClient
import Foundation
import InteractionSandbox
import RoutingContract
import TestSupport
import Testing

@testable import IdempotencyStore
@testable import route_worker

@Suite("The story of a command")
struct CommandStoryTests {
    private static let start = Timestamp(milliseconds: 1_700_000_000_000)
    private static let org = OrgID("00D000000000001")!
    private let key = CommandKey(
        org: CommandStoryTests.org, kind: .route, request: RequestID("6f1c2a3e-0d4b-4c5a-9e8f-7a6b5c4d3e2f")!)

    private func story(
        _ state: CommandRecord.State, _ history: CommandHistory = CommandHistory(), attempts: Int = 1,
        mayHaveTakenEffect: Bool = false, replay: Int = 0, alias: String? = "acme"
    ) -> CommandStory {
        let record = CommandRecord(
            fingerprint: Fingerprint(bytes: Array(repeating: 7, count: 32)), state: state, token: 3, attempts: attempts,
            mayHaveTakenEffect: mayHaveTakenEffect, replay: replay, nonce: nil, worker: "host-2",
            keepUntil: Self.start + .seconds(86_400), history: history)
        return CommandStory(key: key, alias: alias, record: record, now: Self.start + .seconds(100))
    }

    private func ended(_ outcome: Outcome, _ error: CommandError? = nil, response: String? = nil)
        -> CommandRecord.Ending
    {
        CommandRecord.Ending(
            result: CommandResult(
                outcome: outcome, httpStatus: response == nil ? nil : 202,
                response: response.map { APIResponse(Array($0.utf8)) },
                error: error, attempts: 2, receivedAt: Self.start, completedAt: Self.start + .seconds(41),
                worker: "host-2"), replay: 0)
    }

    private func note(_ history: inout CommandHistory, _ event: HistoryEntry.Event, after seconds: Int64) {
        history.note(event, at: Self.start + .seconds(seconds))
    }

    /// Taken up, refused for now, taken over by another worker, made, and delivered again.
    private var eventful: CommandHistory {
        var history = CommandHistory()
        let first = DeliveryNote(receivedAt: Self.start, earlierDeliveries: 0)
        note(&history, .claimed(ClaimNote(kind: .acquired, worker: "host-1", delivery: first)), after: 0)
        history.note([
            CallNote(
                startedAt: Self.start, duration: .milliseconds(12), end: .answered(status: 503), code: 10019,
                reason: "read-only", refusedRequests: 1)
        ])
        note(&history, .released(unbound: false), after: 1)
        note(&history, .claimed(ClaimNote(kind: .acquired, worker: "host-1", delivery: first)), after: 2)
        let second = DeliveryNote(receivedAt: Self.start + .seconds(40), earlierDeliveries: 1)
        note(&history, .claimed(ClaimNote(kind: .interrupted, worker: "host-2", delivery: second)), after: 40)
        history.note([
            CallNote(startedAt: Self.start + .seconds(40), duration: .milliseconds(80), end: .answered(status: 202))
        ])
        note(&history, .ended(.succeeded, replay: 0), after: 41)
        history.note(
            SeenAgain(kind: .duplicate, count: 2, lastAt: Self.start + .seconds(50), worker: "host-3", delivery: second)
        )
        return history
    }

    private let psr = #"{"success":true,"psrId":"0JR000000000001"}"#

    @Test("The whole of it, for people")
    func forPeople() {
        let story = story(
            .completed(ended(.succeeded, response: psr)), eventful, attempts: 3, mayHaveTakenEffect: true)
        #expect(
            story.text == """
                route 6f1c2a3e-0d4b-4c5a-9e8f-7a6b5c4d3e2f of acme (00D000000000001)
                  outcome     succeeded
                  HTTP        202
                  psrId       0JR000000000001
                  answer      {"success":true,"psrId":"0JR000000000001"}
                  worker      host-2
                  received    2023-11-14T22:13:20.000Z
                  completed   2023-11-14T22:14:01.000Z
                  calls       3, one of which may have taken effect
                  kept until  2023-11-15T22:13:20.000Z

                  2023-11-14T22:13:20.000Z  claimed by host-1 (received 2023-11-14T22:13:20.000Z)
                  2023-11-14T22:13:20.000Z  called: HTTP 503 after 12 ms (read-only, code 10019); before it 1 refused for the token
                  2023-11-14T22:13:21.000Z  given back, to be tried again
                  2023-11-14T22:13:22.000Z  claimed by host-1 (received 2023-11-14T22:13:20.000Z)
                  2023-11-14T22:14:00.000Z  taken over by host-2, since the lease before had run out (delivery 2, received 2023-11-14T22:14:00.000Z)
                  2023-11-14T22:14:00.000Z  called: HTTP 202 after 80 ms
                  2023-11-14T22:14:01.000Z  ended succeeded
                  2023-11-14T22:14:10.000Z  delivered again and answered as before, without a call, 2 times until 2023-11-14T22:14:10.000Z; by host-3 (delivery 2, received 2023-11-14T22:14:00.000Z)
                """)
    }

    @Test("The whole of it, for programs")
    func forPrograms() throws {
        let story = story(.completed(ended(.succeeded, response: psr)), eventful, attempts: 3)
        let text = try CommandStory.json(of: [story], key.request)
        let object = try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
        #expect(object["schemaVersion"] as? Int == 1 && object["requestId"] as? String == key.request.description)
        let command = try #require((object["commands"] as? [[String: Any]])?.first)
        let words = ["command", "org", "orgId", "state", "outcome", "psrId", "completedBy", "completedAt"].map {
            command[$0] as? String
        }
        #expect(
            words == [
                "route", "acme", "00D000000000001", "completed", "succeeded", "0JR000000000001", "host-2",
                "2023-11-14T22:14:01.000Z",
            ])
        #expect((command["response"] as? [String: Any])?["success"] as? Bool == true)
        let history = try #require(command["history"] as? [[String: Any]])
        #expect(
            history.map { $0["event"] as? String } == [
                "claimed", "called", "released", "claimed", "claimed", "called", "ended", "duplicate",
            ])
        #expect(history[1]["code"] as? Int == 10019 && history[1]["httpStatus"] as? Int == 503)
        #expect(history[4]["kind"] as? String == "interrupted" && history[4]["earlierDeliveries"] as? Int == 1)
        #expect(history[7]["count"] as? Int == 2 && history[7]["worker"] as? String == "host-3")
    }

    @Test("A claim that runs, one that ran out, and one that a replay made")
    func underWay() throws {
        let running = story(.claimed(until: Self.start + .seconds(130), before: nil))
        #expect(running.text.contains("state       claimed by host-2, whose lease ends 2023-11-14T22:15:30.000Z\n"))
        let over = story(.claimed(until: Self.start + .seconds(60), before: nil))
        #expect(over.text.contains("whose lease ended 2023-11-14T22:14:20.000Z: whoever gets it next"))
        let error = CommandError(code: 10094, message: "no answer", reason: "timeout")
        let again = story(.released(before: ended(.unknown, error)), replay: 2, alias: nil).text
        for line in [
            "route \(key.request) of 00D000000000001", "  state       waiting to be tried again",
            "  earlier end unknown", "  error       timeout, code 10094: no answer", "  replays     2",
        ] { #expect(again.split(separator: "\n").contains(Substring(line)), "\(line)\n\(again)") }
    }

    @Test("What is missing or cannot be read is said")
    func gaps() {
        let state = CommandRecord.State.completed(ended(.succeeded))
        #expect(story(state).text.contains("kept no story"))
        let later = CommandHistory(bytes: [2, 0, 0, 0, 0, 0, 0, 42])
        #expect(story(state, later).text.contains("a newer version wrote it"))
        var long = CommandHistory()
        for number in 0..<100 { long.note(.ended(.exhausted, replay: number), at: Self.start) }
        let lines = story(state, long).text.split(separator: "\n").suffix(33)
        #expect(lines.map { $0.contains("68 entries are not kept") }.firstIndex(of: true) == CommandHistory.keptFirst)
    }

    @Test("What others wrote commands no terminal and forges no line")
    func hostile() {
        let error = CommandError(message: "first\n  outcome     succeeded\u{1B}[2J", reason: "refused")
        let text = story(.completed(ended(.rejected, error, response: "\u{1B}]0;x\u{7}\nforged"))).text
        #expect(!text.unicodeScalars.contains { $0 == "\u{1B}" || $0 == "\u{7}" })
        #expect(!text.split(separator: "\n").contains { $0 == "forged" || $0 == "  outcome     succeeded" })
    }
}

@Suite("explain", .serialized, .showsWorkerLog, .timeLimit(.minutes(3)))
struct ExplainTests {
    private typealias Run = CommandLineTests.Run

    @Test(
        "It tells deliveries, claims, calls, answer and end of a real command", arguments: HarnessOptions.Store.allCases
    )
    func realCommand(store: HarnessOptions.Store) async throws {
        var options = HarnessOptions(settings: ["defaults.parking=false", "defaults.retry.maximum=200ms"])
        options.store = store
        try await withHarness(options) { harness in
            try harness.sandbox.add(Fault(shorthand: "503@x1"))
            let worker = try await harness.startWorker()
            let command = CommandSpec.route(org: "globex")
            let answers = try await harness.ask(command, command)
            #expect(answers.map(\.outcome) == [.succeeded, .succeeded] && answers[1].duplicate)
            #expect(await worker.stop() == .code(0))

            var run = await Run(try harness.tool("explain", [command.id.uppercased()]))
            #expect(run.exit == .code(0), "\(run.error)")
            let lines = run.output.split(separator: "\n")
            #expect(lines.first == "route \(command.id) of globex (00D000000000002)")
            let order = [
                "outcome     succeeded", "psrId       0", "calls       2", "claimed by", "called: HTTP 503",
                "given back", "claimed by", "called: HTTP 202", "ended succeeded", "delivered again",
            ]
            var rest = lines[...]
            for words in order {
                let index = rest.firstIndex { $0.contains(words) }
                #expect(index != nil, "\(words) in \(run.output)")
                if let index { rest = rest[(index + 1)...] }
            }

            run = await Run(try harness.tool("explain", [command.id, "--org", "00D000000000002AAA", "--json"]))
            #expect(run.exit == .code(0), "\(run.error)")
            let object = try #require(try JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [String: Any])
            let commands = try #require(object["commands"] as? [[String: Any]])
            #expect(commands.count == 1 && (commands[0]["history"] as? [Any])?.count == 7)

            run = await Run(try harness.tool("explain", [command.id, "--org", "acme"]))
            #expect(run.exit == .code(1) && run.error.contains("nothing is known of \(command.id) in this org"))
            #expect(run.output.isEmpty)
        }
    }

    @Test("What cannot be told is said with the reason")
    func refusals() async throws {
        try await withHarness { harness in
            var run = await Run(try harness.tool("explain", ["no-uuid"]))
            #expect(run.exit == .code(2) && run.error.contains("no-uuid"))
            run = await Run(try harness.tool("explain", [newID(), "--org", "nobody"]))
            #expect(run.exit == .code(78) && run.error.contains("acme, globex"), "\(run.error)")
            // Looking makes no database.
            run = await Run(try harness.tool("explain", [newID()]))
            #expect(run.exit == .code(78) && run.error.contains("there is no database at"), "\(run.error)")
            #expect(!FileManager.default.fileExists(atPath: harness.folder.path("store.db")))
        }
        try await withHarness(HarnessOptions(settings: ["store.url=memory:"])) { harness in
            let run = await Run(try harness.tool("explain", [newID()]))
            #expect(run.exit == .code(78) && run.error.contains("the worker's own process alone"), "\(run.error)")
        }
    }
}
