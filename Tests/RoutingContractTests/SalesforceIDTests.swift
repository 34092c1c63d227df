// Salesforce record ids: their form and their case-check suffix.

import RoutingContract
import Testing

@Suite struct SalesforceIDTests {
    @Test(arguments: [
        ("001A0000006Vm9u", "001A0000006Vm9uIAC"), ("000000000000000", "000000000000000AAA"),
        ("ABCDEFGHIJKLMNO", "ABCDEFGHIJKLMNO555"), ("aBaaaBaaaaaaaaB", "aBaaaBaaaaaaaaBCBQ"),
    ])
    func addsTheSuffixThatFits(id: String, whole: String) {
        #expect(SalesforceID.withSuffix(id) == whole)
        #expect(SalesforceID.withSuffix(whole) == whole)
        #expect(SalesforceID.isValid(id) && SalesforceID.isValid(whole))
        // A system that loses the case changes the suffix too, but not what it says of the other fifteen.
        #expect(SalesforceID.isValid(id + whole.suffix(3).lowercased()))
    }

    @Test(arguments: [
        "", "001", "001A0000006Vm9", "001A0000006Vm9uI", "001A0000006Vm9uIAA", "001a0000006Vm9uIAC", "001A0000006Vmé",
        "001A0000006Vm9-", "001A0000006Vm9u\r\n ",
    ])
    func refusesWhatIsNoId(text: String) {
        #expect(!SalesforceID.isValid(text))
    }

    @Test func tellsKindsByTheirPrefix() {
        #expect(SalesforceID.isValid("00GA0000006Vm9u", prefix: "00G"))
        #expect(!SalesforceID.isValid("001A0000006Vm9u", prefix: "00G"))
        #expect(SalesforceID.withSuffix("short") == "short")
    }
}
