// The store as operators' commands use it: beside the workers, and only where there is something to find.

import Foundation
import IdempotencyStore
import RoutingContract
import WorkerSettings

/// An org, as an operator's command means it.
struct NamedOrg: Sendable, Hashable {
    var id: OrgID
    /// Where it is configured.
    var alias: String?
}

extension Settings {
    /// The orgs that an operator's command is about.
    ///
    /// - Parameter name: alias or id of one; by its id also one that is not configured. `nil` means all that are.
    func orgs(named name: String?) throws -> [NamedOrg] {
        let known =
            orgs.map { NamedOrg(id: $0.id, alias: $0.alias) }
            + misconfigured.compactMap { org in org.id.map { NamedOrg(id: $0, alias: org.alias) } }
        guard let name else {
            guard !known.isEmpty else {
                throw CommandFailure.configuration("the configuration has no orgs: name one by its id, --org 00D…")
            }
            return known
        }
        if let org = known.first(where: { $0.alias == name }) { return [org] }
        if let id = OrgID(name) { return [known.first { $0.id == id } ?? NamedOrg(id: id)] }
        let aliases = known.compactMap(\.alias).prefix(20).joined(separator: ", ")
        throw CommandFailure.configuration(
            "--org \(name): no such org, and no id of one; the configuration has \(aliases.isEmpty ? "none" : aliases)")
    }

    /// Opens the store that the workers use for the duration of `body`, and closes it.
    ///
    /// - Throws: ``CommandFailure``, also for a store in memory, of which only the worker itself knows, and for a database
    ///   that no worker has made yet.
    func withKeptStore<Value>(
        _ body: (any IdempotencyStore & StoreInspection) async throws -> Value
    ) async throws -> Value {
        switch store.location {
        case .memory:
            throw CommandFailure.configuration(
                "store.url is memory: what it holds is known to the worker's own process alone, and gone with it; use "
                    + "sqlite:, postgres: or redis:")
        case .sqlite(let path):
            guard FileManager.default.fileExists(atPath: path) else {
                throw CommandFailure.configuration(
                    "store.url: there is no database at \(path); is this the worker's configuration, and its folder?")
            }
        case .postgres, .redis: break
        }
        let store = try openStore()
        let result: Result<Value, any Error>
        do { result = .success(try await body(store)) } catch { result = .failure(error) }
        await store.close()
        do {
            return try result.get()
        } catch let error as StoreError {
            switch error {
            case .unusable: throw CommandFailure.configuration("store.url: \(error)")
            case .unavailable, .full, .closed: throw CommandFailure.failed("\(error)")
            }
        }
    }
}
