// `route-worker check`: is everything there, and can it be reached?

import AMQP
import ArgumentParser
import IdempotencyStore
import InteractionAPI
import NIOPosix
import RouteWorker
import RoutingContract
import WorkerSettings

struct CheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Validates the configuration and tries broker, queues, store, tokens and Salesforce.",
        discussion: """
            Says of each part whether it is well, and how to mend it where it is not. Consumes nothing and routes nothing;
            of each org it clears the routing of a conversation that does not exist, to try token and context.
            Exits with 0 when all is well, 1 when something is not, 78 when the configuration is wrong or names a store that
            refuses this worker, with which `run` would not start.

            EXAMPLES
              route-worker check -c worker.yaml
              route-worker check -c worker.yaml --org acme    only this org: its token, its context, its answer
              route-worker check -c worker.yaml --org acme --context Partner1_Channel2
            """)

    @OptionGroup var options: SettingsOptions

    @Option(help: ArgumentHelp("Alias or id of the one org to try.", valueName: "org"))
    var org: String?

    @Option(
        help: ArgumentHelp(
            "AuthorizationContext to call with, in place of each org's defaultContext.", valueName: "context"))
    var context: String?

    func run() async throws {
        var settings = try options.load(for: .worker)
        var report = Report()
        if let org {
            try settings.keepOnly(org)
            reportMisconfigured(settings, &report)
            await checkOrgs(settings, &report)
            guard report.isWell else { throw ExitCode(ExitStatus.failed) }
            return
        }
        report.well("configuration", "\(settings.orgs.count) orgs, \(settings.queues.count) commands queues")
        reportMisconfigured(settings, &report)
        await checkBroker(settings, &report)
        await checkStore(settings, &report)
        await checkOrgs(settings, &report)
        guard report.isWell else {
            throw ExitCode(report.isMisconfigured ? ExitStatus.configuration : ExitStatus.failed)
        }
    }

    private func reportMisconfigured(_ settings: Settings, _ report: inout Report) {
        for org in settings.misconfigured {
            for problem in org.problems { report.wrong("org \(org.alias)", "\(problem)") }
        }
    }

    private struct Report {
        private(set) var isWell = true
        /// Whether waiting and trying again cannot help.
        var isMisconfigured = false

        func well(_ part: String, _ text: String) { print("ok    \(part): \(text)") }
        func note(_ part: String, _ text: String) { print("note  \(part): \(text)") }

        mutating func wrong(_ part: String, _ text: String) {
            isWell = false
            print("FAIL  \(part): \(text)")
        }
    }

    private func checkBroker(_ settings: Settings, _ report: inout Report) async {
        do {
            let configuration = try settings.brokerConfiguration("check")
            let problems = try await AMQPAdmin.withConnection(configuration) { try await settings.topology.check($0) }
            report.well("broker", settings.amqp.urls.map(\.description).joined(separator: ", "))
            for problem in problems {
                if problem.kind == .notComparable {
                    report.note("queues", "\(problem)")
                } else {
                    report.wrong("queues", "\(problem)")
                }
            }
            if problems.isEmpty {
                report.well("queues", "\(settings.topology.queues.count) are there as they should be")
            }
        } catch {
            report.wrong("broker", "\(error)")
        }
    }

    private func checkStore(_ settings: Settings, _ report: inout Report) async {
        do {
            let store = try settings.openStore()
            let probed: Result<Void, StoreError>
            do throws(StoreError) { probed = .success(try await store.probe()) } catch { probed = .failure(error) }
            await store.close()
            try probed.get()
            switch settings.store.location {
            case .memory: report.note("store", "in memory: what it knows is gone when the worker ends; for trials only")
            case .sqlite(let path): report.well("store", "\(path) can be read and written")
            case .postgres(let url), .redis(let url): report.well("store", "\(url) can be read and written")
            }
        } catch {
            report.wrong("store", "\(error)")
            if case .unusable? = error as? StoreError { report.isMisconfigured = true }
            if error is CommandFailure { report.isMisconfigured = true }
        }
    }

    /// Orgs that are tried at a time.
    private static let concurrency = 16

    private enum Trial {
        case called(CallResult)
        case token(Result<AccessToken, TokenFailure>)
    }

    /// Clears the routing of a conversation that does not exist: a real call with token and context, without effect.
    private func checkOrgs(_ settings: Settings, _ report: inout Report) async {
        do {
            let caller = try settings.makeCaller(on: MultiThreadedEventLoopGroup.singleton.next())
            var left = settings.orgs[...]
            while !left.isEmpty {
                let batch = left.prefix(Self.concurrency)
                left = left.dropFirst(batch.count)
                let trials = await withTaskGroup(of: (String, Trial).self) { group in
                    for org in batch {
                        group.addTask { [context] in (org.alias, await Self.attempt(org, context, caller)) }
                    }
                    return await group.reduce(into: [String: Trial]()) { $0[$1.0] = $1.1 }
                }
                for org in batch {
                    for file in org.secretFiles.filter(SecretFiles.isOpenToOthers) {
                        report.note(
                            "org \(org.alias)",
                            "every user of this machine can read \(file), which holds a secret: chmod o= it"
                        )
                    }
                    if let trial = trials[org.alias] { explain(trial, of: org, &report) }
                }
            }
            await caller.client.shutDown()
        } catch {
            report.wrong("orgs", "\(error)")
        }
    }

    private static func attempt(_ org: Settings.Org, _ context: String?, _ caller: Caller) async -> Trial {
        guard let context = context ?? org.defaultContext else {
            return .token(await caller.tokens.token(for: org.id, timeout: org.callTimeout))
        }
        var generator = SystemRandomNumberGenerator()
        let probe = RouteCommand.probe(of: org.id, context: context, using: &generator)
        return .called(await caller.client.perform(probe, timeout: org.callTimeout))
    }

    private func explain(_ trial: Trial, of org: Settings.Org, _ report: inout Report) {
        let part = "org \(org.alias)"
        switch trial {
        case .token(.success):
            report.note(part, "there is a token; not called, since the org has no defaultContext: add --context NAME")
        case .token(.failure(let failure)):
            report.wrong(part, "\(failure)")
        case .called(let result):
            explain(result, of: org, &report)
        }
    }

    private func explain(_ result: CallResult, of org: Settings.Org, _ report: inout Report) {
        let part = "org \(org.alias)"
        switch result {
        case .notSent(let failure), .effectUnknown(let failure):
            report.wrong(part, "\(org.baseURL): \(failure.message) (\(failure.reason))")
        case .answered(let answer):
            switch AnswerClassifier.classify(kind: .delete, answer: answer, now: StoreClock.system.now()) {
            case .succeeded, .nothingCleared:
                report.well(part, "\(org.baseURL) takes the token and the context")
            case .rejected(let error), .configuration(let error), .token(let error), .transient(let error, _),
                .unknown(let error):
                let code = error.code.map { ", code \($0)" } ?? ""
                report.wrong(part, "\(org.baseURL): HTTP \(answer.status)\(code): \(error.message)")
            }
        }
    }
}

extension Settings {
    /// Leaves one org, by alias or id.
    fileprivate mutating func keepOnly(_ name: String) throws {
        let (id, all) = (OrgID(name), orgs)
        orgs.removeAll { $0.alias != name && $0.id != id }
        misconfigured.removeAll { $0.alias != name && ($0.id == nil || $0.id != id) }
        guard orgs.isEmpty, misconfigured.isEmpty else { return }
        let aliases = all.map(\.alias).prefix(20).joined(separator: ", ")
        throw CommandFailure.configuration("--org \(name): no such org; the configuration has \(aliases)")
    }
}
