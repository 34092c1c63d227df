// `route-worker check`: is everything there, and can it be reached?

import ArgumentParser
import RoutingContract
import WorkerSettings

struct CheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Validates the configuration and tries broker, queues, store, tokens and Salesforce.",
        discussion: """
            Says of each part whether it is well, and how to mend it where it is not: of the broker's queues, policies and \
            rights what loses messages, with the command that mends it behind a $. Consumes nothing and routes nothing; of \
            each org it clears the routing of a conversation that does not exist, to try token and context. \
            Policies are seen where amqp.managementURL is set. \
            Exits with 0 when all is well, 1 when something is not, 78 when the configuration is wrong or names a store that \
            refuses this worker, with which `run` would not start.

            EXAMPLES
              route-worker check -c worker.yaml
              route-worker check -c worker.yaml --org acme     only this org
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
        if let org { try settings.keepOnly(org) }
        var inspection = Inspection(settings, trial: .call(context: context), configFile: options.config)
        try await inspection.run(org == nil ? .all : .orgs)
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
