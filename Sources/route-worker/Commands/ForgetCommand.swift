// `route-worker forget`: removes what the store holds of a person's conversation.

import ArgumentParser
import IdempotencyStore
import RoutingContract
import WorkerSettings

struct ForgetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "forget",
        abstract: "Removes what the store holds of a person's conversation.",
        discussion: """
            Looks through all commands that are remembered of the org, beside the workers, and removes from those of the
            conversation Salesforce's answers and words, and which conversation they belong to. How each ended stays as long
            as it would have, so that no RequestId is called for again; its duplicates are answered without Salesforce's
            answer. A delete's mark goes too: a route that was issued before that delete and comes later is called for.

            Commands in work are told and left; run it again when they have ended, until it exits with 0. What an earlier
            version recorded without a history is not found and goes with its retention. Does not reach the broker: messages
            that wait, dead letters, answers. A database overwrites what it removed in time (VACUUM does so at once).

            EXAMPLES
              route-worker forget -c worker.yaml --org acme --conversation 7b0c… --dry-run
              route-worker forget -c worker.yaml --org acme --conversation 7b0c…
            """)

    @OptionGroup var options: SettingsOptions

    @Option(help: ArgumentHelp("The conversationIdentifier.", valueName: "id"))
    var conversation: String

    @Option(help: ArgumentHelp("Alias or id of its org.", valueName: "org"))
    var org: String

    @Flag(help: "Only say how many commands it would concern.")
    var dryRun = false

    func validate() throws {
        guard !conversation.isEmpty else { throw ValidationError("--conversation must not be empty") }
    }

    func run() async throws {
        let settings = try options.load(for: .tools)
        guard let org = try settings.orgs(named: org).first else { return }
        let whose = ConversationKey(org: org.id, conversation: conversation)
        let counts = try await settings.withKeptStore { store in
            var line = ProgressCount("commands looked at:")
            let commands = try await store.commands(of: whose) { seen in line.update(seen) }
            line.finish()
            var counts = ForgetCounts(found: commands.count)
            if dryRun { return counts }
            for key in commands {
                switch try await store.forget(key, of: whose) {
                case .forgotten: counts.forgotten += 1
                case .underWay: counts.underWay += 1
                // Forgotten by somebody else, or its retention is over.
                case .nothing: break
                }
            }
            counts.hadMark = try await store.forgetMark(of: whose) == .forgotten
            return counts
        }
        print(dryRun ? counts.plan : counts.report)
        if counts.underWay > 0 {
            throw CommandFailure.failed("\(counts.underWay) are in work: run this again when they have ended")
        }
    }
}

/// How many commands it was about.
struct ForgetCounts: Sendable, Hashable {
    var found: Int
    var forgotten = 0
    var underWay = 0
    var hadMark = false

    var plan: String { "would remove what is kept of \(Self.commands(found)); nothing was changed" }

    var report: String {
        "removed what was kept of \(Self.commands(forgotten))" + (hadMark ? ", and the delete's mark" : "")
    }

    private static func commands(_ count: Int) -> String { count == 1 ? "1 command" : "\(count) commands" }
}
