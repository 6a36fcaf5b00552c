"""Small changes of an image that keep the prediction and change the map, or change the prediction."""
