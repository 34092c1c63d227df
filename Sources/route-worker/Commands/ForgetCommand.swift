// `route-worker forget`: removes what dead letters and the store hold of a person's conversation.

import ArgumentParser
import DeadLetters
import IdempotencyStore
import RoutingContract
import WorkerSettings

struct ForgetCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "forget",
        abstract: "Removes what dead letters and the store hold of a person's conversation.",
        discussion: """
            First the dead letters: those of the conversation are removed, also those that name no org which is configured; the \
            trail keeps that it was done, and nothing of what they said. One whose body cannot be read says of no conversation \
            and is not found: see `dead-letters list --failure body-malformed`.

            Then the store: looks through all commands that are remembered of the org, beside the workers, and removes from \
            those of the conversation Salesforce's answers and words, and which conversation they belong to. How each ended \
            stays as long as it would have, so that no RequestId is called for again; its duplicates are answered without \
            Salesforce's answer. A delete's mark goes too: a route that was issued before that delete and comes later is called \
            for.

            Commands in work are told and left; run it again when they have ended, until it exits with 0. Commands that wait, \
            also in parking queues, and answers that nobody has taken are not looked at: they end by themselves. What an \
            earlier version recorded without a history is not found and goes with its retention. A database overwrites what it \
            removed in time (VACUUM does so at once).

            Can be interrupted (Ctrl-C) and killed at any moment, and run again. Exits with 1 when any was left, or not \
            looked at.

            EXAMPLES
              route-worker forget -c worker.yaml --org acme --conversation 7b0c… --dry-run
              route-worker forget -c worker.yaml --org acme --conversation 7b0c… \\
                --reason "request 4711"
            """)

    @OptionGroup var options: DeadLetterOptions

    @Option(help: ArgumentHelp("The conversationIdentifier.", valueName: "id"))
    var conversation: String

    @Option(help: ArgumentHelp("Alias or id of its org.", valueName: "org"))
    var org: String

    @Option(help: ArgumentHelp("Why, for the trail; not who.", valueName: "text"))
    var reason: String?

    @Flag(help: "Only say what would be removed.")
    var dryRun = false

    func validate() throws {
        guard !conversation.isEmpty else { throw ValidationError("--conversation must not be empty") }
    }

    func run() async throws {
        let settings = try options.settings.load(for: .tools)
        guard let org = try settings.orgs(named: org).first else { return }
        let whose = ConversationKey(org: org.id, conversation: conversation)
        // One for both: who stops it among the dead letters does not want it to go on in the store.
        try await withInterruption { interruption in
            try await settings.withKeptStore { store in
                let letters = try await forgetDeadLetters(of: whose, settings, interruption)
                print(letters.text)
                guard letters.isWell else { throw ExitCode(ExitStatus.failed) }

                let counts = try await forgetCommands(of: whose, store, interruption)
                print(dryRun ? counts.plan : counts.report)
                if interruption.isAsked { throw CommandFailure.failed("interrupted: the rest is as it was") }
                let look = letters.report.look
                guard look.isWhole else {
                    throw CommandFailure.failed(
                        look.isShared
                            ? "somebody else reads the dead letters and may hold some: run this again when nobody does"
                            : "only \(look.seen) of \(look.expected) dead letters were looked at: deal with the oldest, then "
                                + "run this again")
                }
                if counts.underWay > 0 {
                    throw CommandFailure.failed("\(counts.underWay) are in work: run this again when they have ended")
                }
            }
        }
    }

    private func forgetDeadLetters(
        of whose: ConversationKey, _ settings: Settings, _ interruption: Interruption
    ) async throws -> OperatorReport {
        var rules = settings.decodingRules
        rules.maximumBodyBytes = .max
        let decoder = CommandDecoder(rules: rules, orgs: settings.orgDirectory)
        let by = Operator.name()
        return try await options.withSession(settings, doing: "forget", interruption) { session in
            let run = OperatorRun(
                session, isDry: dryRun,
                isMeant: { letter in
                    let found = letter.conversation(decoder)
                    return found.conversation == whose.conversation && (found.org == nil || found.org == whose.org)
                },
                plan: { [reason] letter in
                    let now = StoreClock.system.now()
                    return OperatorRun.Step(trail: .forget(letter, of: whose.org, at: now, by: by, reason: reason))
                })
            return try await run.shown(OperatorReport.forget, isDry: dryRun, interruption)
        }
    }

    private func forgetCommands(
        of whose: ConversationKey, _ store: any IdempotencyStore & StoreInspection, _ interruption: Interruption
    ) async throws -> ForgetCounts {
        var line = ProgressCount("commands looked at:")
        let commands = try await store.commands(of: whose) { seen in line.update(seen) }
        line.finish()
        var counts = ForgetCounts(found: commands.count)
        if dryRun { return counts }
        for key in commands {
            if interruption.isAsked { return counts }
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
}

/// How many commands it was about.
struct ForgetCounts: Sendable, Hashable {
    var found: Int
    var forgotten = 0
    var underWay = 0
    var hadMark = false

    var plan: String { "would remove what is kept of \(counted(found, "command")); nothing was changed" }

    var report: String {
        "removed what was kept of \(counted(forgotten, "command"))" + (hadMark ? ", and the delete's mark" : "")
    }

}
