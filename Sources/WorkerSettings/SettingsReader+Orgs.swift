// Reads the orgs: each with its own settings over those of `defaults`.

import RoutingContract

extension SettingsReader {
    mutating func orgs(_ worker: Settings.Worker, _ commands: Settings.Commands) -> [Settings.Org] {
        // Read once without an org, so that its mistakes are reported even where nobody takes them over.
        _ = inherited(\.baseURL, nil)
        _ = inherited(\.defaultContext, nil)
        _ = value(\.bodyFormat, nil)
        _ = token(nil)
        _ = policy(nil, worker, commands)
        return (sources.names[Keys.orgsSection] ?? []).compactMap { alias, place in
            do throws(Refusal) {
                _ = try ValueForm<String>.alias.parse(alias)
            } catch {
                sources.report([Keys.orgsSection, alias], "\(shown(alias)) \(error.reason)", at: place)
            }
            return org(alias, worker, commands)
        }
    }

    /// `nil` where something is wrong that no default can stand in for; that is reported.
    mutating func org(
        _ alias: String, _ worker: Settings.Worker, _ commands: Settings.Commands
    ) -> Settings.Org? {
        let path = [Keys.orgsSection, alias]
        let id = optional(Keys.orgID, in: alias)
        if !sources.isWritten(Keys.orgID.path(alias)) {
            sources.report(path + ["id"], "is missing, write the org's id (00D…)")
        }
        let baseURL = inherited(\.baseURL, alias)
        if !sources.isWritten(Keys.org.baseURL.path(alias)), !sources.isWritten(Keys.defaults.baseURL.path) {
            sources.report(
                path + ["baseURL"], "is missing, write https://DOMAIN.my.salesforce-scrt.com here or under defaults:")
        }
        let token = token(alias)
        let policy = policy(alias, worker, commands)
        guard let id, let baseURL, let token else { return nil }
        return Settings.Org(
            alias: alias, id: id, baseURL: baseURL, defaultContext: inherited(\.defaultContext, alias),
            validation: policy.validation, callTimeout: policy.callTimeout, token: token,
            bodyFormat: value(\.bodyFormat, alias), unknownEffect: policy.unknownEffect,
            transferDeadline: policy.transferDeadline, retry: policy.retry,
            maximumConcurrency: policy.maximumConcurrency, rateLimit: policy.rateLimit, parking: policy.parking)
    }

    private typealias Policy = (
        validation: KnownOrg.Validation, callTimeout: Duration, unknownEffect: Settings.UnknownEffect,
        transferDeadline: Duration, retry: Settings.Retry, maximumConcurrency: Int, rateLimit: Int?,
        parking: Settings.Parking?
    )

    private mutating func policy(
        _ alias: String?, _ worker: Settings.Worker, _ commands: Settings.Commands
    ) -> Policy {
        (
            value(\.validation, alias), value(\.callTimeout, alias), value(\.unknownEffect, alias),
            inherited(\.transferDeadline, alias) ?? commands.transferDeadline,
            Settings.Retry(
                attempts: value(\.attempts, alias), budget: value(\.budget, alias),
                backoff: Settings.Backoff(
                    minimum: value(\.retryMinimum, alias), maximum: value(\.retryMaximum, alias))),
            inherited(\.maximumConcurrency, alias) ?? worker.concurrency, inherited(\.rateLimit, alias),
            parking(alias)
        )
    }

    private mutating func parking(_ alias: String?) -> Settings.Parking? {
        let parking = Settings.Parking(
            failurePercent: value(\.failurePercent, alias), minimumCalls: value(\.minimumCalls, alias),
            window: value(\.breakerWindow, alias),
            probe: Settings.Backoff(minimum: value(\.probeMinimum, alias), maximum: value(\.probeMaximum, alias)))
        return value(\.parking, alias) ? parking : nil
    }

    /// The org's own value, or else that of the defaults.
    private mutating func inherited<Value>(_ key: KeyPath<OrgKeys, SettingKey<Value>>, _ alias: String?) -> Value? {
        if let alias, let own = optional(Keys.org[keyPath: key], in: alias) { return own }
        return optional(Keys.defaults[keyPath: key])
    }

    private mutating func value<Value>(_ key: KeyPath<OrgKeys, SettingKey<Value>>, _ alias: String?) -> Value {
        if let alias, let own = optional(Keys.org[keyPath: key], in: alias) { return own }
        return value(Keys.defaults[keyPath: key])
    }
}
