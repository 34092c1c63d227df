// Reads a sandbox's ledger.

import AsyncHTTPClient
import Foundation

/// The effects that a sandbox has on its ledger.
struct SandboxLedger {
    let url: String

    private struct Page: Decodable {
        struct Effect: Decodable {
            var requestId: String
            var effects: Int
        }

        var effects: [Effect]
    }

    /// How many effects each RequestId (lower case) had.
    func effects() async throws -> [String: Int] {
        do {
            let request = HTTPClientRequest(url: url + "/sandbox/effects?limit=1000000")
            let response = try await HTTPClient.shared.execute(request, timeout: .seconds(30))
            let body = try await response.body.collect(upTo: 256 * 1024 * 1024)
            let page = try JSONDecoder().decode(Page.self, from: Data(buffer: body))
            return Dictionary(page.effects.map { ($0.requestId.lowercased(), $0.effects) }, uniquingKeysWith: +)
        } catch {
            throw CommandFailure.failed("cannot read the ledger of the sandbox at \(url): \(error)")
        }
    }
}
