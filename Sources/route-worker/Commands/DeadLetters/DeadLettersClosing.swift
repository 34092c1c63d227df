// `dead-letters resolve`: an unknown outcome becomes a known one. `dead-letters trail`: who did what.

import AMQP
import ArgumentParser
import DeadLetters
import IdempotencyStore
import RoutingContract
import WorkerSettings

extension DeadLettersCommand {
    struct Resolve: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Closes a command of unknown outcome, and publishes its answer.",
            discussion: """
                For an operator who has looked in Salesforce. `succeeded`: it took effect. `failed`: it did not; the answer then \
                says `exhausted`, with the reason `resolved-failed` and the words of --reason. The outcome is recorded, so that \
                later duplicates get the same answer; the answer goes where that of the command would have gone.

                EXAMPLES
                  route-worker dead-letters resolve -c worker.yaml 7e0a3c52-… \\
                    --as succeeded --reason "pending routing 0JR… seen in Salesforce"
                  route-worker dead-letters resolve -c worker.yaml 7e0a3c52-… \\
                    --as failed --reason "no pending routing" --org acme --command route
                """)

        @OptionGroup var options: DeadLetterOptions

        @Argument(help: "The RequestId.")
        var requestID: String

        @Option(
            name: .customLong("as"), help: ArgumentHelp("succeeded or failed.", valueName: "outcome"),
            transform: { try Self.choice($0, "--as") })
        var resolution: Resolution

        @Option(help: ArgumentHelp("Why, for the trail and (where it failed) the answer.", valueName: "text"))
        var reason: String

        @Option(help: ArgumentHelp("Alias or id of its org, where several have the RequestId.", valueName: "org"))
        var org: String?

        @Option(
            help: ArgumentHelp("route or delete, where both have the RequestId.", valueName: "command"),
            transform: { try Self.choice($0, "--command") })
        var command: CommandKind?

        private static func choice<Value: RawRepresentable<String> & CaseIterable>(
            _ text: String, _ option: String
        ) throws -> Value {
            guard let value = Value(rawValue: text) else {
                throw ValidationError(
                    "\(option) \(text): write \(Value.allCases.map(\.rawValue).joined(separator: " or "))")
            }
            return value
        }

        func validate() throws {
            guard RequestID(requestID) != nil else {
                throw ValidationError("'\(requestID)' is no RequestId: write the whole UUID")
            }
            guard !reason.isEmpty else { throw ValidationError("--reason must not be empty") }
        }

        func run() async throws {
            let settings = try options.settings.load(for: .tools)
            let names = settings.orgNames
            var filter = DeadLetterFilter()
            filter.requests = [RequestID(requestID)?.description ?? requestID]
            filter.outcomes = [Outcome.unknown.rawValue]
            if let org { filter.orgs = Set(try settings.orgs(named: org).map { names.shown($0.id.description) }) }
            let isMeant = { [filter, command] (letter: DeadLetter) in
                filter.matches(letter, names) && (command == nil || letter.command == command?.rawValue)
            }
            let (queue, decoder) = settings.replayDecoding
            let look = try await withInterruption { interruption in
                try await settings.withKeptStore { store in
                    try await options.withSession(settings, doing: "dead-letters resolve", interruption) { session in
                        try await checkIsOne(session, names, interruption, isMeant)
                        let resolver = Resolver(
                            session, store: store, decoder: decoder, queue: queue, lease: settings.store.lease,
                            by: Operator.name(), why: reason)
                        return try await session.deadLetters.look(
                            keepsBodies: true, shouldStop: { interruption.isAsked }
                        ) { deliveries in
                            var receipts: [Receipt] = []
                            for delivery in deliveries {
                                let letter = DeadLetter(delivery)
                                guard isMeant(letter) else { continue }
                                let address = try await resolver.resolve(
                                    letter, as: resolution, now: StoreClock.system.now())
                                receipts.append(delivery.receipt)
                                print(
                                    "resolved \(letter.requestID ?? "") as \(resolution.rawValue); its answer is in "
                                        + address)
                            }
                            return receipts
                        }
                    }
                }
            }
            try look.report()
        }

        /// Several dead letters of one command are closed together; commands that only share a RequestId are not.
        private func checkIsOne(
            _ session: OperatorSession, _ names: OrgNames, _ interruption: Interruption,
            _ isMeant: (DeadLetter) -> Bool
        ) async throws {
            var found: Set<String> = []
            let look = try await session.deadLetters.look(
                keepsBodies: false, shouldStop: { interruption.isAsked }
            ) { deliveries in
                for letter in deliveries.map({ DeadLetter($0) }) where isMeant(letter) {
                    found.insert("\(letter.command ?? "?") of \(letter.org.map(names.shown) ?? "?")")
                }
                return []
            }
            if look.isStopped { throw CommandFailure.failed("interrupted: nothing was changed") }
            guard let one = found.first else {
                throw CommandFailure.failed("no dead letter of \(requestID) with an unknown outcome")
            }
            guard found.count == 1 else {
                throw CommandFailure.failed(
                    "several commands have this RequestId (\(found.sorted().joined(separator: ", "))): name one with --org "
                        + "and --command; for example the \(one)")
            }
        }
    }

    struct Trail: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows who replayed, discarded or resolved dead letters, when and why.",
            discussion: """
                The entries stand in deadLetters.auditQueue, one JSON message each, and stay there: consume them from there to \
                keep them elsewhere.

                EXAMPLES
                  route-worker dead-letters trail -c worker.yaml
                  route-worker dead-letters trail -c worker.yaml \\
                    --request-id 7e0a3c52-6f0b-4a51-9f5e-0d7b2f6f6f01 --json
                """)

        @OptionGroup var settings: SettingsOptions

        @Option(
            name: .customLong("request-id"),
            help: ArgumentHelp("Only what was done with this RequestId.", valueName: "id"))
        var requestID: String?

        @Option(help: ArgumentHelp("No more than the newest so many.", valueName: "count"))
        var limit = 100

        @Flag(help: "As JSON, one object a line.")
        var json = false

        func validate() throws {
            guard limit > 0 else { throw ValidationError("--limit is a number above 0") }
        }

        func run() async throws {
            let settings = try settings.load(for: .tools)
            let wanted = requestID.map { RequestID($0)?.description ?? $0 }
            let queue = settings.deadLetters.auditQueue
            let configuration = try settings.brokerConfiguration("trail")
            var entries: [TrailEntry] = []
            do {
                let look = try await withInterruption { interruption in
                    try await AMQPAdmin.withConnection(configuration) { admin in
                        guard try await admin.queue(queue) != nil else { throw OperatorError.missingQueue(queue) }
                        return try await HeldQueue(admin, configuration, queue: queue).look(
                            keepsBodies: true, shouldStop: { interruption.isAsked }
                        ) { deliveries in
                            entries += deliveries.compactMap { TrailEntry($0.message) }.filter {
                                wanted == nil || $0.requestID == wanted
                            }
                            if entries.count / 2 > limit { entries.removeFirst(entries.count - limit) }
                            return []
                        }
                    }
                }
                try look.report()
            } catch let error as OperatorError {
                throw CommandFailure.failed("\(error)")
            } catch let error as AMQPError {
                throw CommandFailure.failed("cannot read queue '\(queue)': \(error)")
            }
            if json {
                for entry in entries.suffix(limit) { print(DeadLetterJSON.text(entry.object)) }
                return
            }
            var table = Table(["WHEN", "WHO", "ACTION", "REQUEST ID", "ORG", "WAS", "WHY"])
            for entry in entries.suffix(limit) {
                table.add([
                    entry.at.rfc3339, entry.by, entry.resolvedAs.map { "resolve as \($0)" } ?? entry.action.rawValue,
                    entry.requestID ?? "–", entry.org.map(settings.orgNames.shown) ?? "–", entry.outcome ?? "–",
                    entry.reason ?? "",
                ])
            }
            if !table.isEmpty { print(table.rendered()) }
        }
    }
}
