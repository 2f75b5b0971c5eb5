//! What posters call themselves: a start and an end, put together in one of several styles.

/// First words. No digit, no blank: a name can be taken apart again, so two posters never share
/// one.
pub(in crate::emulator) const NAME_STARTS: &str = "
Amber Autumn Birch Blue Bold Bramble Brass Bright Bronze Calm Candid Cedar Cherry Chestnut Clever Clover Cobalt
Copper Coral Cosy Cotton Crimson Crisp Curious Daily Dapper Daring Distant Dusty Early Ebony Electric Emerald
Endless Fable Fern Festive Fig Flax Frosted Gentle Gilded Ginger Golden Granite Happy Hazel Hidden Honest Honey
Humble Idle Indigo Iron Ivory Jade Jolly Juniper Kind Lavender Lemon Lilac Linen Little Lively Lucky Lunar Maple
Marble Mellow Merry Midnight Mint Misty Modern Mossy Noble Nordic Oaken Olive Opal Paper Patient Pearl Pepper
Pine Plain Plum Quiet Rainy Restless River Rosy Rustic Saffron Sage Salty Scarlet Shy Silver Simple Slow Snowy
Solar Spruce Sunny Teal Tidy Timber Tiny Topaz Umber Velvet Vintage Violet Wandering Warm Wild Willow Winter
Witty Woolen Young Zesty";

/// Second words, under the same rule.
pub(in crate::emulator) const NAME_ENDS: &str = "
Acorn Almanac Anchor Apron Arrow Atelier Attic Badger Bakery Barn Basket Beacon Bench Bicycle Bonfire Bookshelf
Boulder Bridge Brush Button Cabin Camera Canvas Caravan Carousel Cellar Chapter Chimney Closet Compass Corner
Cottage Cupboard Desk Diary Doorway Dresser Easel Engine Fabric Feather Fireplace Florist Forest Fox Gallery
Garage Garden Gazette Globe Greenhouse Hammock Harbour Hearth Hedge Heron House Inkwell Island Jar Journal
Journey Kettle Kitchen Ladder Lagoon Lantern Ledger Library Lighthouse Loom Magpie Mansion Map Market Meadow
Mirror Mitten Moth Mountain Needle Nest Notebook Oak Orchard Otter Owl Palette Pantry Parlour Pebble Pencil
Piano Picnic Pillow Pocket Porch Pottery Quill Quilt Ribbon Robin Saddle Sailor Scissors Shed Shore Sketchbook
Sparrow Spoon Staircase Studio Suitcase Table Teapot Thimble Thread Trail Trunk Umbrella Valley Wagon Wardrobe
Window Workshop Yarn";

/// What stands before, between and after the two words. Blanks at the end are part of a name.
pub(in crate::emulator) const NAME_STYLES: &[[&str; 3]] = &[
    ["", " ", ""],
    ["The ", " ", ""],
    ["", " & ", ""],
    ["", "", ".com"],
    ["", " ", " Blog"],
    ["", " ", " | Ideas, Recipes and More"],
    ["", "_", ""],
    ["", " and ", " Co."],
    ["", " ", " - Home, Style, Family"],
    ["Café ", " ", ""],
    ["", " ", " ✨"],
    ["", " ", " "],
];
