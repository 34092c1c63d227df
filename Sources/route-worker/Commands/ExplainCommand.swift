// `route-worker explain`: the story of a command, from the store.

import ArgumentParser
import Foundation
import IdempotencyStore
import RoutingContract
import WorkerSettings

struct ExplainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Tells what became of a command: deliveries, claims, calls and their answers, outcome.",
        discussion: """
            Looks into the store for the RequestId, as a route and as a delete, in every org of the configuration or in the \
            one named (by its id also one that is no longer configured). Looks only, and finds it at once among millions. \
            Times are in UTC: of claims and ends by the store's clock, of calls and receipts by the worker's.

            Of a long story the first \(CommandHistory.keptFirst) and the last \(CommandHistory.keptLast) entries are kept. Nothing is kept of commands that \
            ended `invalid`, `conflict` or `expired`; their dead letters tell why. Exits with 1 when nothing is known or the \
            store cannot be reached, with 78 when it cannot be used, as one in memory cannot.

            EXAMPLES
              route-worker explain -c worker.yaml 7e0a3c52-6f0b-4a51-9f5e-0d7b2f6f6f01
              route-worker explain -c worker.yaml 7e0a3c52-6f0b-4a51-9f5e-0d7b2f6f6f01 \\
                --org acme --json
            """)

    @OptionGroup var options: SettingsOptions

    @Argument(help: "The RequestId.")
    var requestID: String

    @Option(help: ArgumentHelp("Alias or id of the one org to look in.", valueName: "org"))
    var org: String?

    @Flag(help: "As one JSON object.")
    var json = false

    func validate() throws {
        guard RequestID(requestID) != nil else {
            throw ValidationError("'\(requestID)' is no RequestId: write the whole UUID")
        }
    }

    func run() async throws {
        guard let request = RequestID(requestID) else { return }
        let settings = try options.load(for: .tools)
        let orgs = try settings.orgs(named: org)
        let found = try await settings.withKeptStore { store in
            try await Self.look(for: request, in: orgs, store)
        }
        let stories = found.map { org, key, record in
            CommandStory(key: key, alias: org.alias, record: record, now: StoreClock.system.now())
        }
        if json {
            print(try CommandStory.json(of: stories, request))
        } else if !stories.isEmpty {
            print(stories.map(\.text).joined(separator: "\n\n"))
        }
        guard !stories.isEmpty else { throw CommandFailure.failed(nothingKnown(request, orgs.count, settings)) }
    }

    /// Asked at a time; they share batches.
    private static let concurrency = 200

    private static func look(
        for request: RequestID, in orgs: [NamedOrg], _ store: any StoreInspection
    ) async throws -> [(NamedOrg, CommandKey, CommandRecord)] {
        let places = orgs.flatMap { org in
            CommandKind.allCases.map { (org, CommandKey(org: org.id, kind: $0, request: request)) }
        }
        var found: [(NamedOrg, CommandKey, CommandRecord)] = []
        for start in stride(from: 0, to: places.count, by: concurrency) {
            let part = places[start..<min(start + concurrency, places.count)]
            let records = try await withThrowingTaskGroup(of: (CommandKey, CommandRecord?).self) { group in
                for (_, key) in part { group.addTask { (key, try await store.find(key)) } }
                return try await group.reduce(into: [CommandKey: CommandRecord]()) { $0[$1.0] = $1.1 }
            }
            for (org, key) in part {
                if let record = records[key] { found.append((org, key, record)) }
            }
        }
        return found
    }

    private func nothingKnown(_ request: RequestID, _ orgs: Int, _ settings: Settings) -> String {
        """
        nothing is known of \(request) in \(orgs == 1 ? "this org" : "any of \(orgs) orgs"): it was never taken up; or it \
        ended invalid, conflict or expired, of which only its dead letter in \(settings.answers.deadLetterQueue) tells; or it \
        is forgotten by now (see store.retention and store.failureRetention)
        """
    }
}
