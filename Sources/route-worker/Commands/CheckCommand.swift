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
            Exits with 0 when all is well, 1 when something is not, 78 when the configuration is wrong.

            EXAMPLES
              route-worker check -c worker.yaml
              route-worker check -c worker.yaml --org acme    only this org: its token, its context, its answer
            """)

    @OptionGroup var options: SettingsOptions

    @Option(help: ArgumentHelp("Alias or id of the one org to try.", valueName: "org"))
    var org: String?

    func run() async throws {
        var settings = try options.load(for: .worker)
        var report = Report()
        if let org {
            guard let known = settings.orgDirectory.find(org) else {
                let aliases = settings.orgs.map(\.alias).joined(separator: ", ")
                throw CommandFailure.configuration("--org \(org): no such org; the configuration has \(aliases)")
            }
            settings.orgs.removeAll { $0.id != known.id }
            await checkOrgs(settings, &report)
            guard report.isWell else { throw ExitCode(ExitStatus.failed) }
            return
        }
        report.well("configuration", "\(settings.orgs.count) orgs, \(settings.queues.count) commands queues")
        await checkBroker(settings, &report)
        await checkStore(settings, &report)
        await checkOrgs(settings, &report)
        guard report.isWell else { throw ExitCode(ExitStatus.failed) }
    }

    private struct Report {
        private(set) var isWell = true

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
            _ = try await store.purge(limit: 0)
            await store.close()
            switch settings.store.location {
            case .memory: report.note("store", "in memory: what it knows is gone when the worker ends; for trials only")
            case .sqlite(let path): report.well("store", "\(path) can be read and written")
            case .postgres(let url), .redis(let url): report.well("store", "\(url) can be read and written")
            }
        } catch {
            report.wrong("store", "\(error)")
        }
    }

    /// Clears the routing of a conversation that does not exist: a real call with token and context, without effect.
    private func checkOrgs(_ settings: Settings, _ report: inout Report) async {
        do {
            let client = try settings.makeClient(on: MultiThreadedEventLoopGroup.singleton.next())
            var generator = SystemRandomNumberGenerator()
            for org in settings.orgs {
                guard let context = org.defaultContext else {
                    report.note("org \(org.alias)", "not called: it has no defaultContext to call with")
                    continue
                }
                let command = RouteCommand.probe(of: org.id, context: context, using: &generator)
                let result = await client.perform(command, timeout: org.callTimeout)
                explain(result, of: org, &report)
            }
            await client.shutDown()
        } catch {
            report.wrong("orgs", "\(error)")
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
                let hint = error.code.flatMap { AnswerCode.known($0)?.hint }.map { "; \($0)" } ?? ""
                let code = error.code.map { ", code \($0)" } ?? ""
                report.wrong(part, "\(org.baseURL): HTTP \(answer.status)\(code): \(error.message)\(hint)")
            }
        }
    }
}
