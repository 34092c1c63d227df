// Looking at everything that a worker needs, part by part, for `check` and `run --dry-run`.

import AMQP
import ArgumentParser
import BrokerInspection
import IdempotencyStore
import InteractionAPI
import NIOPosix
import RouteWorker
import RoutingContract
import WorkerSettings

/// Says of each part on standard output whether it is well, and how to mend it where it is not. Consumes nothing and
/// routes nothing.
struct Inspection {
    /// How an org is tried.
    enum Trial {
        /// Clears the routing of a conversation that does not exist: a real call with token and context, without effect.
        ///
        /// - Parameter context: in place of each org's own.
        case call(context: String?)
        /// Gets a token and a connection, and calls nothing.
        case connection
    }

    /// What is looked at.
    enum Scope {
        case all
        case broker
        case orgs
    }

    private let settings: Settings
    private let trial: Trial
    private let configFile: String?
    private var isWell = true
    /// Whether waiting and trying again cannot help.
    private var isMisconfigured = false

    /// - Parameter configFile: where the settings were read, for commands that are shown.
    init(_ settings: Settings, trial: Trial, configFile: String?) {
        self.settings = settings
        self.trial = trial
        self.configFile = configFile
    }

    /// - Throws: an exit code where something is not well.
    mutating func run(_ scope: Scope = .all) async throws {
        switch scope {
        case .all:
            well("configuration", settings.summary)
            reportMisconfigured()
            await checkBroker()
            await checkStore()
            await checkOrgs()
        case .broker: await checkBroker()
        case .orgs:
            reportMisconfigured()
            await checkOrgs()
        }
        guard !isWell else { return }
        throw ExitCode(isMisconfigured ? ExitStatus.configuration : ExitStatus.failed)
    }

    private func well(_ part: String, _ text: String) { print("ok    \(part): \(text)") }
    private func note(_ part: String, _ text: String) { print("note  \(part): \(text)") }

    private mutating func wrong(_ part: String, _ text: String) {
        isWell = false
        print("FAIL  \(part): \(text)")
    }

    private mutating func reportMisconfigured() {
        for org in settings.misconfigured {
            for problem in org.problems { wrong("org \(org.alias)", "\(problem)") }
        }
    }

    private mutating func checkBroker() async {
        do {
            let configuration = try settings.brokerConfiguration("check")
            let needs = settings.brokerNeeds(configuration, configFile: configFile)
            let managed = await askManagement(needs)
            let diagnoses = try await AMQPAdmin.withConnection(configuration) {
                try await BrokerInspector(needs, $0, managed: managed).inspect()
            }
            well("broker", settings.amqp.urls.map(\.description).joined(separator: ", "))
            for diagnosis in diagnoses { show(diagnosis) }
            if !diagnoses.contains(where: \.hasLoss) {
                well("queues", "\(needs.queues.count) are there, and nothing was seen that loses messages")
            }
        } catch {
            wrong("broker", "\(error)")
        }
    }

    /// Where it cannot be asked, what AMQP tells has to do.
    private mutating func askManagement(_ needs: BrokerNeeds) async -> ManagedBroker? {
        do {
            return try await settings.askManagement(needs)
        } catch {
            wrong("management API", "\(error)")
            return nil
        }
    }

    private mutating func show(_ diagnosis: Diagnosis) {
        for finding in diagnosis.findings {
            switch finding.severity {
            case .loss: wrong(diagnosis.subject, finding.text)
            case .risk, .unknown: note(diagnosis.subject, finding.text)
            }
        }
        for step in diagnosis.remedy { print(step.line) }
    }

    private mutating func checkStore() async {
        do {
            let store = try settings.openStore()
            let probed: Result<Void, StoreError>
            do throws(StoreError) { probed = .success(try await store.probe()) } catch { probed = .failure(error) }
            await store.close()
            try probed.get()
            switch settings.store.location {
            case .memory: note("store", "in memory: what it knows is gone when the worker ends; for trials only")
            case .sqlite(let path): well("store", "\(path) can be read and written")
            case .postgres(let url), .redis(let url): well("store", "\(url) can be read and written")
            }
        } catch {
            wrong("store", "\(error)")
            if case .unusable? = error as? StoreError { isMisconfigured = true }
            if error is CommandFailure { isMisconfigured = true }
        }
    }

    /// Orgs that are tried at a time.
    private static let concurrency = 16

    private enum Finding: Sendable {
        case called(CallResult)
        /// There is nothing to call with.
        case notCalled
        case connected
        case noToken(TokenFailure)
        case notConnected(CallFailure)
    }

    private mutating func checkOrgs() async {
        do {
            let caller = try settings.makeCaller(on: MultiThreadedEventLoopGroup.singleton.next())
            var left = settings.orgs[...]
            while !left.isEmpty {
                let batch = left.prefix(Self.concurrency)
                left = left.dropFirst(batch.count)
                let findings = await withTaskGroup(of: (String, Finding).self) { group in
                    for org in batch {
                        group.addTask { [trial] in (org.alias, await Self.attempt(trial, org, caller)) }
                    }
                    return await group.reduce(into: [String: Finding]()) { $0[$1.0] = $1.1 }
                }
                for org in batch {
                    for file in org.secretFiles.filter(SecretFiles.isOpenToOthers) {
                        note(
                            "org \(org.alias)",
                            "every user of this machine can read \(file), which holds a secret: chmod o= it"
                        )
                    }
                    if let finding = findings[org.alias] { explain(finding, of: org) }
                }
            }
            await caller.client.shutDown()
        } catch {
            wrong("orgs", "\(error)")
        }
    }

    private static func attempt(_ trial: Trial, _ org: Settings.Org, _ caller: Caller) async -> Finding {
        if case .call(let context) = trial, let context = context ?? org.defaultContext {
            var generator = SystemRandomNumberGenerator()
            let probe = RouteCommand.probe(of: org.id, context: context, using: &generator)
            return .called(await caller.client.perform(probe, timeout: org.callTimeout))
        }
        if case .failure(let failure) = await caller.tokens.token(for: org.id, timeout: org.callTimeout) {
            return .noToken(failure)
        }
        switch trial {
        case .call: return .notCalled
        case .connection: return await caller.client.connect(to: org.id).map { .notConnected($0) } ?? .connected
        }
    }

    private mutating func explain(_ finding: Finding, of org: Settings.Org) {
        let part = "org \(org.alias)"
        switch finding {
        case .called(let result):
            explain(result, of: org)
        case .notCalled:
            note(part, "there is a token; not called, since the org has no defaultContext: add --context NAME")
        case .connected:
            well(part, "there is a token, and \(org.baseURL) can be reached")
        case .noToken(let failure):
            wrong(part, "\(failure)")
        case .notConnected(let failure):
            wrong(part, "\(org.baseURL): \(failure.message) (\(failure.reason))")
        }
    }

    private mutating func explain(_ result: CallResult, of org: Settings.Org) {
        let part = "org \(org.alias)"
        switch result {
        case .notSent(let failure), .effectUnknown(let failure):
            wrong(part, "\(org.baseURL): \(failure.message) (\(failure.reason))")
        case .answered(let answer):
            switch AnswerClassifier.classify(kind: .delete, answer: answer, now: StoreClock.system.now()) {
            case .succeeded, .nothingCleared:
                well(part, "\(org.baseURL) takes the token and the context")
            case .rejected(let error), .configuration(let error), .token(let error), .transient(let error, _),
                .unknown(let error):
                let code = error.code.map { ", code \($0)" } ?? ""
                let status = "HTTP \(answer.status)\(code)"
                let message = error.message.hasPrefix(status) ? error.message : "\(status): \(error.message)"
                wrong(part, "\(org.baseURL): \(message)")
            }
        }
    }
}
